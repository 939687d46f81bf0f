"""TLS that is the same on every machine, verified, and bounded like the rest of a download."""

import ssl
from functools import partial
from pathlib import Path
from typing import Any, cast

from fetch.bounds import Bounds
from fetch.errors import FetchError
from fetch.sockets import LazyTimeoutSocket, Owner, broken_connection, silent_server
from tasks.failure import FailureCode

# What curl offers on Debian. Without it the choice depends on who built Python: one built from
# source offers 17 cipher suites, Debian's 60.
CIPHERS = "DEFAULT:@SECLEVEL=2"

# OpenSSL's verification results: X509_V_ERR_* in its x509_vfy.h
_REASONS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "was issued by an unknown authority",
    20: "was issued by an unknown authority",
    21: "was issued by an unknown authority",
    23: "was revoked",
    26: "is not meant for servers",
    62: "is for another host name",
    64: "is for another IP address",
    66: "has a key that is too weak",
    67: "has an issuer whose key is too weak",
    68: "has a signature that is too weak",
}

# A server sends these alerts about a client's certificate, and we have none: RFC 8446 § 6.2.
_CERTIFICATE_ALERTS = frozenset(
    {
        "NO_CERTIFICATE",
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "CERTIFICATE_REQUIRED",
    }
)


class _TLSSocket(LazyTimeoutSocket, ssl.SSLSocket):
    """A socket that asks its owner's bounds after every wait, in the handshake as well."""

    _failure: OSError | None = None  # behind the records that were received

    @property
    def _bounds(self) -> Bounds:
        return cast("TLSContext", self.context).owner.bounds

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002
        """Raises FetchError, which is permanent only if a certificate is the reason."""
        handshake = partial(super().do_handshake, block)
        try:
            self._bounds.wait(handshake, self._bounds.limits.connect_timeout, silent_server)
        except ssl.SSLError as error:
            self.close()
            raise _failed_handshake(error) from None
        except BaseException:
            self.close()
            raise
        # A body that ends with its connection is complete only after a close_notify.
        self.suppress_ragged_eofs = False

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:  # noqa: ANN401  Python 3.11 has no name for it
        """Receive all records that have arrived, as far as the buffer goes.

        Raises FetchError if the server breaks off, or if a record was damaged on its way.
        """
        view = memoryview(buffer)[: nbytes or None]
        try:
            return self._bounds.receive(partial(self._receive, view, flags), silent_server)
        except ssl.SSLError as error:
            if _is_certificate_alert(error):  # with TLS 1.3, it follows the handshake
                raise _demanded_certificate() from None
            raise broken_connection() from None

    def _receive(self, view: memoryview, flags: int) -> int:
        """Wait for a record, then take those behind it: OpenSSL returns one, of 16 KiB, per call.

        An error behind the first one is raised by the next call.
        """
        if self._failure is not None:
            raise self._failure
        size = super().recv_into(view, flags=flags)
        rest = view[size:]
        if not (size and rest):
            return size
        timeout = self.gettimeout()
        self.settimeout(0)
        try:
            while rest and (more := super().recv_into(rest)):
                rest = rest[more:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass  # no further record is complete
        except OSError as error:
            self._failure = error.with_traceback(None)
        finally:
            self.settimeout(timeout)
        return len(view) - len(rest)


class TLSContext(ssl.SSLContext):
    """Verifies certificate and name, and makes bounded sockets."""

    sslsocket_class = _TLSSocket
    owner: Owner


def make_context(owner: Owner, ca_bundle: Path | str) -> TLSContext:
    """Return a context that trusts the certificates of a file, also if they are intermediate."""
    context = TLSContext(ssl.PROTOCOL_TLS_CLIENT)
    context.owner = owner
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Debian's Python sets this option, which takes a truncated body for a complete one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.load_verify_locations(ca_bundle)
    return context


def _failed_handshake(error: ssl.SSLError) -> FetchError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _rejected_certificate(error.verify_code)
    if _is_certificate_alert(error):
        return _demanded_certificate()
    if _is_end_of_connection(error):  # a busy server closes the connection
        return broken_connection()
    # Another alert, or an answer that is not TLS
    return FetchError(FailureCode.TLS_ERROR, "The TLS handshake failed.")


def _is_certificate_alert(error: ssl.SSLError) -> bool:
    # A reason such as TLSV13_ALERT_CERTIFICATE_REQUIRED; its beginning depends on the alert.
    return (error.reason or "").rpartition("_ALERT_")[2] in _CERTIFICATE_ALERTS


def _is_end_of_connection(error: ssl.SSLError) -> bool:
    # Before Python 3.11.3, the end of the connection may raise a plain SSLError.
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"


def _rejected_certificate(code: int) -> FetchError:
    reason = _REASONS.get(code, "was rejected")
    return FetchError(
        FailureCode.TLS_ERROR, f"The server's certificate {reason}.", is_permanent=True
    )


def _demanded_certificate() -> FetchError:
    return FetchError(
        FailureCode.TLS_ERROR,
        "The server accepts only clients that have a certificate.",
        is_permanent=True,
    )
