"""TLS is verified, bounded, and a body ends only where the origin says so."""

import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import trustme

from devtools.servers.raw_origin import (
    CHUNKED,
    Peer,
    RawOrigin,
    Step,
    chunked,
    drip,
    reply,
    reset,
    stall,
)
from fetch.errors import FetchCancelledError, FetchError
from fetch.guard import Guard
from fetch.tls import TLSContext
from fetch.transport import Transport
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]

BODY = bytes(range(256)) * 400
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def context(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert("localhost", "files.example", "127.0.0.1"))


@pytest.fixture
def tls_fetch(ca: trustme.CA, tmp_path: Path) -> Iterator[Fetch]:
    """Trusts the tests' own CA, and no other."""
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    transport = Transport(Guard(allow=LOOPBACK), ca_bundle=bundle)
    yield Fetch(transport)
    transport.close()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def say_goodbye(peer: Peer) -> None:
    """Send a close_notify."""
    assert isinstance(peer.connection, ssl.SSLSocket)
    peer.connection.unwrap()


def over_tls(url: str) -> str:
    return urlsplit(url)._replace(scheme="https").geturl()


class TestTrust:
    def test_trailing_dot_is_sent_as_host_and_left_out_of_the_certificate_check(
        self,
        ca: trustme.CA,
        originate: Originate,
        tls_fetch: Fetch,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        context = server_context(ca.issue_cert("files.example"))
        names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        origin = originate([reply(BODY)], context=context)

        def look_up(*_args: object, **_kwargs: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", origin.port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert tls_fetch("https://files.example./f").size == len(BODY)
        assert names == ["files.example"]
        assert b"\r\nHost: files.example.\r\n" in origin.requests[0]

    def test_own_ca(self, context: ssl.SSLContext, originate: Originate, tls_fetch: Fetch) -> None:
        origin = originate([reply(BODY)], context=context)
        digest = tls_fetch(origin.base)
        assert digest.md5 == hashlib.md5(BODY).hexdigest()
        assert digest.is_length_verified

    def test_that_nobody_knows(
        self, context: ssl.SSLContext, originate: Originate, fetch: Fetch
    ) -> None:
        refused(originate([reply(BODY)], context=context), fetch)

    @pytest.mark.parametrize("names", [["other.example"], ["127.0.0.2"], ["*.0.0.1"]])
    def test_wrong_name(
        self, names: list[str], ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        context = server_context(ca.issue_cert(*names))
        refused(originate([reply(BODY)], context=context), tls_fetch)

    def test_common_name_is_no_name(
        self, ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        certificate = ca.issue_cert("other.example", common_name="127.0.0.1")
        refused(originate([reply(BODY)], context=server_context(certificate)), tls_fetch)

    @pytest.mark.parametrize(("first", "last"), [(2001, 2002), (2090, 2091)])
    def test_wrong_time(
        self, first: int, last: int, ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        not_before, not_after = (datetime(year, 1, 1, tzinfo=UTC) for year in (first, last))
        certificate = ca.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after)
        refused(originate([reply(BODY)], context=server_context(certificate)), tls_fetch)

    def test_self_signed(self, originate: Originate, tls_fetch: Fetch, tmp_path: Path) -> None:
        own = trustme.CA()
        own.cert_pem.write_to_path(tmp_path / "own.pem")
        own.private_key_pem.write_to_path(tmp_path / "own.key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")
        origin = originate([reply(BODY)], context=context)
        refused(origin, tls_fetch)
        assert "self-signed" in tls_fetch.failure(origin.base).failure.message

    def test_an_intermediate_certificate_is_enough_to_trust(
        self, ca: trustme.CA, originate: Originate, tmp_path: Path
    ) -> None:
        """As for curl: the root need not be in CA_BUNDLE."""
        child = ca.create_child_ca()
        child.cert_pem.write_to_path(tmp_path / "child.pem")
        context = server_context(child.issue_cert("127.0.0.1"))
        transport = Transport(Guard(allow=LOOPBACK), ca_bundle=tmp_path / "child.pem")
        assert Fetch(transport)(originate([reply(BODY)], context=context).base).size == len(BODY)
        transport.close()

    def test_the_reason_is_named(
        self, ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        past, future = (datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2090))
        contexts = {
            "for another host name": server_context(ca.issue_cert("other.example")),
            "expired": server_context(ca.issue_cert("localhost", not_before=past, not_after=past)),
            "not valid yet": server_context(
                ca.issue_cert("localhost", not_before=future, not_after=future)
            ),
            "unknown authority": server_context(trustme.CA().issue_cert("localhost")),
        }
        for reason, each in contexts.items():
            origin = originate([reply(BODY)], context=each)
            error = tls_fetch.failure(origin.base.replace("127.0.0.1", "localhost"))
            assert reason in error.failure.message
            assert error.is_permanent

    def test_sni(
        self,
        context: ssl.SSLContext,
        originate: Originate,
        tls_fetch: Fetch,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It is the URL's name, and the certificate is checked against it, whatever the address."""
        names: list[str | None] = []

        def remember(_socket: object, name: str | None, _context: object) -> None:
            names.append(name)

        monkeypatch.setattr(context, "sni_callback", remember)
        origin = originate([reply(BODY)], context=context)
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", origin.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: answer)
        assert tls_fetch(f"https://files.example:{origin.port}").size == len(BODY)
        assert tls_fetch(f"https://files.example.:{origin.port}").size == len(BODY)
        url = f"https://other.example:{origin.port}"
        assert tls_fetch.code(url) is FailureCode.TLS_ERROR
        assert names == ["files.example", "files.example", "other.example"]
        assert f"Host: files.example:{origin.port}".encode() in origin.requests[0]


class TestCiphers:
    @pytest.mark.parametrize(
        "cipher",
        [
            "AES256-GCM-SHA384",
            "AES128-SHA",
            "ECDHE-RSA-AES256-SHA",
            "ECDHE-RSA-AES128-SHA256",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ],
    )
    def test_tls_offers_what_curl_offers(
        self, cipher: str, ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        """Python built from source offers fewer by default (urllib3#3031, yt-dlp#2043)."""
        certificate = ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        context = server_context(certificate)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(cipher)
        origin = originate([reply(BODY)], context=context)
        assert tls_fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()

    def test_tls_offer_does_not_depend_on_the_build_of_python(self, tls_fetch: Fetch) -> None:
        offered = {each["name"] for each in tls_fetch.transport._tls_context.get_ciphers()}
        default = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        default.set_ciphers("DEFAULT:@SECLEVEL=2")
        assert offered == {each["name"] for each in default.get_ciphers()}


ALERT = b"\x15\x03\x03\x00\x02\x02"  # fatal; its description follows


class TestTransientFailures:
    @pytest.mark.parametrize(
        "answer",
        [
            reply(b"busy", status="503 Service Unavailable"),
            b"SSH-2.0-OpenSSH\r\n",
            ALERT + b"\x50",  # internal_error
            ALERT + b"\x28",  # handshake_failure
            ALERT + b"\x46",  # protocol_version
            ALERT + b"\x70",  # unrecognized_name
            ALERT + b"\x31",  # access_denied
            ALERT + b"\xff",  # unknown
            b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        ],
        ids=range(9),
    )
    def test_a_handshake_that_fails_otherwise_may_succeed_later(
        self, answer: bytes, originate: Originate, tls_fetch: Fetch
    ) -> None:
        origin = originate([Peer.receive, answer, stall], is_greeting=False)
        error = tls_fetch.failure(over_tls(origin.base))
        assert (error.failure.code, error.is_permanent) == (FailureCode.TLS_ERROR, False)
        assert "certificate" not in error.failure.message

    @pytest.mark.parametrize(
        "damage",
        [
            b"\x17\x03\x03\x00\x20" + bytes(32),  # a record with a wrong checksum
            b"\x17\x03\x03\xff\xff" + bytes(64),  # a record that is too long
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x15\x03\x03\x00\x12" + bytes(18),
        ],
        ids=range(4),
    )
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_damaged_record_is_a_break_that_is_resumed(
        self,
        damage: bytes,
        version: ssl.TLSVersion,
        ca: trustme.CA,
        originate: Originate,
        tls_fetch: Fetch,
    ) -> None:
        """kleinkram#1465, dotnet/arcade#10351."""
        context = server_context(ca.issue_cert("127.0.0.1"))
        context.maximum_version = version
        headers = ('ETag: "v1"', "Accept-Ranges: bytes")

        def send_raw(peer: Peer) -> None:
            os.write(peer.connection.fileno(), damage)

        half = len(BODY) // 2
        rest = reply(
            BODY[half:],
            f"Content-Range: bytes {half}-{len(BODY) - 1}/{len(BODY)}",
            *headers,
            status="206 Partial Content",
        )
        whole = reply(BODY, *headers)
        origin = originate(
            [whole[: len(whole) - len(BODY) + half], send_raw, stall], [rest], context=context
        )
        assert tls_fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()
        assert b"Range: bytes=" in origin.requests[1]


class TestClientCertificate:
    """A server that demands one rejects every attempt."""

    @pytest.mark.parametrize("alert", [0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x30, 0x74])
    def test_alert_in_the_handshake(
        self, alert: int, originate: Originate, tls_fetch: Fetch
    ) -> None:
        answer = ALERT + bytes([alert])
        origin = originate([Peer.receive, answer, stall], is_greeting=False)
        demanded(tls_fetch.failure(over_tls(origin.base)))
        assert origin.connections == 1

    def test_alert_after_the_handshake(
        self, ca: trustme.CA, originate: Originate, tls_fetch: Fetch
    ) -> None:
        context = server_context(ca.issue_cert("127.0.0.1"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED

        def demand(peer: Peer) -> None:
            with peer.connection.dup() as raw:
                with suppress(ssl.SSLError):
                    context.wrap_socket(peer.connection, server_side=True)
                while raw.recv(65536):  # closing at once would discard the alert
                    pass

        origin = originate([demand], is_greeting=False)
        demanded(tls_fetch.failure(over_tls(origin.base)))


def demanded(error: FetchError) -> None:
    assert (error.failure.code, error.is_permanent) == (FailureCode.TLS_ERROR, True)
    assert error.failure.message == "The server accepts only clients that have a certificate."


def refused(origin: RawOrigin, fetch: Fetch) -> None:
    error = fetch.failure(origin.base)
    assert (error.failure.code, error.is_permanent) == (FailureCode.TLS_ERROR, True)
    assert "127.0.0.1" not in error.failure.message
    assert origin.requests == []


class TestBody:
    @pytest.mark.parametrize(
        "script",
        [
            [UNTIL_CLOSED + BODY],
            [UNTIL_CLOSED + BODY, reset],
            [UNTIL_CLOSED],
            [reply(BODY)[:-1]],
            [reply(BODY)[:-1], say_goodbye],
            [CHUNKED + chunked(BODY)[:-1]],
            [CHUNKED + chunked(BODY)[:-1], say_goodbye],
            [],
            [say_goodbye],
            [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", say_goodbye],
        ],
        ids=range(10),
    )
    def test_cut(
        self, script: list[Step], context: ssl.SSLContext, originate: Originate, tls_fetch: Fetch
    ) -> None:
        error = tls_fetch.failure(originate(script, context=context).base)
        assert (error.failure.code, error.is_permanent) == (FailureCode.INCOMPLETE_BODY, False)

    @pytest.mark.parametrize("script", [[UNTIL_CLOSED + BODY], [UNTIL_CLOSED], []], ids=range(3))
    def test_cut_where_python_ignores_it_by_default(
        self,
        script: list[Step],
        *,
        context: ssl.SSLContext,
        originate: Originate,
        tls_fetch: Fetch,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Debian's Python sets OP_IGNORE_UNEXPECTED_EOF in each new context."""

        class DebianContext(TLSContext):
            def __new__(cls, *args: Any) -> Self:
                made = super().__new__(cls, *args)
                made.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
                return made

        monkeypatch.setattr("fetch.tls.TLSContext", DebianContext)
        code = tls_fetch.code(originate(script, context=context).base)
        assert code is FailureCode.INCOMPLETE_BODY

    def test_without_length_that_ends_well(
        self, context: ssl.SSLContext, originate: Originate, tls_fetch: Fetch
    ) -> None:
        origin = originate([UNTIL_CLOSED + BODY, say_goodbye], context=context)
        assert tls_fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()


class TestBounds:
    @pytest.mark.parametrize("limit", ["connect_timeout", "deadline"])
    @pytest.mark.parametrize(
        "step",
        [stall, drip(b"\x16\x03\x03\x40\x00" + b"\0" * 5000, 0.01)],
        ids=["silent", "dripped"],
    )
    def test_handshake(
        self, step: Step, limit: str, originate: Originate, tls_fetch: Fetch
    ) -> None:
        origin = originate([step], is_greeting=False)
        code = tls_fetch.code(over_tls(origin.base), **{limit: 0.3})
        assert code in (FailureCode.TIMEOUT, FailureCode.DEADLINE, FailureCode.TLS_ERROR)

    def test_handshake_is_called_off(self, originate: Originate, tls_fetch: Fetch) -> None:
        origin = originate([stall], is_greeting=False)
        tls_fetch.is_cancelled = lambda: origin.connections > 0
        with pytest.raises(FetchCancelledError):
            tls_fetch(over_tls(origin.base))

    @pytest.mark.parametrize("script", [[], [reset], [b"\x16\x03\x03"]], ids=["fin", "rst", "cut"])
    def test_handshake_that_is_broken_off(
        self, script: list[Step], originate: Originate, tls_fetch: Fetch
    ) -> None:
        """A server that is too busy says nothing of its certificate: it may be asked again."""
        origin = originate([Peer.receive, *script], is_greeting=False)
        error = tls_fetch.failure(over_tls(origin.base))
        assert (error.failure.code, error.is_permanent) == (FailureCode.INCOMPLETE_BODY, False)

    def test_body(self, context: ssl.SSLContext, originate: Originate, tls_fetch: Fetch) -> None:
        origin = originate([reply(BODY)[:-9], drip(b"x" * 9, 0.5)], context=context)
        assert tls_fetch.code(origin.base, deadline=0.3) is FailureCode.DEADLINE
        slow = {"min_speed": 10**6, "min_speed_window": 0.2}
        assert tls_fetch.code(origin.base, **slow) is FailureCode.TOO_SLOW
        assert tls_fetch.code(origin.base, read_timeout=0.04) is FailureCode.TIMEOUT
