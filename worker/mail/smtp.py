"""Hands mails to an SMTP server."""

import ipaddress
import logging
import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from telemetry.availability import Availability
from worker.mail.errors import MailError
from worker.mail.smtp_replies import Refused, refusal
from worker.mail.smtp_session import Session, SessionWatch

_CONFIGURATION_ERRORS = (
    smtplib.SMTPAuthenticationError,
    smtplib.SMTPNotSupportedError,
    ssl.SSLCertVerificationError,
)
_PORTS = {"smtp": 25, "smtps": 465}


class SMTPMailer:
    """Hands mails to a server: `smtp://` with STARTTLS if it is offered, or `smtps://`.

    Credentials in the URL require TLS, except to this machine. `?tls=unverified` accepts any
    certificate, and `?tls=off` sends everything in clear.
    """

    def __init__(self, url: str, *, threads: int, ca_bundle: Path | None = None) -> None:
        self._url = urlsplit(url)
        self._host = self._url.hostname or "localhost"
        self._port = self._url.port or _PORTS[self._url.scheme]
        self._user = unquote(self._url.username or "")
        self._tls_option = parse_qs(self._url.query).get("tls", [""])[0]
        self._tls = _make_context(ca_bundle, is_verified=self._tls_option != "unverified")
        self._watch = SessionWatch(threads)
        self._own_name: str | None = None  # looked up once, as the lookup has no timeout
        self._availability = Availability("the mail server", logging.getLogger(__name__))

    def send(self, message: EmailMessage, confirm: Callable[[], None] | None = None) -> None:
        """Return when the server has taken the mail. Raises MailError and what `confirm` raises."""
        tls = self._tls if self._url.scheme == "smtps" else None
        try:
            session = Session(self._host, self._port, self._watch, tls, self._own_name)
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            raise self._no_session(error) from None
        self._own_name = session.local_hostname
        try:
            self._log_in(session)
            self._availability.succeeded()
            session.before_data = confirm
            _deliver(session, message)
        except MailError:
            if session.end_reason is not None and not session.is_answered:
                raise MailError(session.end_reason) from None
            raise
        finally:
            with suppress(OSError, smtplib.SMTPException):
                session.putcmd("quit")  # its reply would change nothing
            session.close()

    def interrupt(self) -> None:
        """End the sessions under way. Their mails are tried again later."""
        self._watch.end_all("the worker stops")

    def _log_in(self, session: Session) -> None:
        try:
            session.ehlo_or_helo_if_needed()
            has_tls = self._url.scheme == "smtps"
            if not has_tls and self._tls_option != "off" and session.has_extn("starttls"):
                session.starttls(context=self._tls)
                has_tls = True
            if self._user:
                if not (has_tls or self._tls_option == "off" or _is_loopback(self._host)):
                    raise MailError(
                        "the mail server offers no TLS, so the password in SMTP_URL was not sent;"
                        " add ?tls=off to send it in clear",
                        is_ours=True,
                    )
                session.login(self._user, unquote(self._url.password or ""))
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            raise self._no_session(error) from None

    def _no_session(self, error: Exception) -> MailError:
        """Return the error for a failed login, which is never about the recipient."""
        is_ours = isinstance(error, _CONFIGURATION_ERRORS)
        self._availability.failed(_describe(error), remedy="Check SMTP_URL" if is_ours else None)
        return MailError(f"no session with the mail server: {_describe(error)}", is_ours=is_ours)


def _make_context(ca_bundle: Path | None, *, is_verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # As for downloads: an intermediate certificate is enough, and all versions of Python agree.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _deliver(session: Session, message: EmailMessage) -> None:
    try:
        session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        (code, text), *_ = error.recipients.values()
        raise refusal(Refused.RECIPIENT, code, text) from None
    except smtplib.SMTPSenderRefused as error:
        raise refusal(Refused.SENDER, error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPDataError as error:
        raise refusal(Refused.CONTENT, error.smtp_code, error.smtp_error) from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(f"the session broke off: {_describe(error)}") from None


def _describe(error: Exception) -> str:
    code = getattr(error, "smtp_code", "")
    return f"{type(error).__name__} {code}".strip()
