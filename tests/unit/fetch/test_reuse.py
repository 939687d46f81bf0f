"""One connection serves the downloads from a host, and nothing else passes from one to the next."""

import hashlib
import io
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trustme

from devtools.servers.raw_origin import (
    CHUNKED,
    Peer,
    RawOrigin,
    Step,
    chunked,
    drip,
    next_request,
    reply,
    reset,
    stall,
)
from devtools.waiting import wait_for
from fetch.guard import Guard
from fetch.transport import Transport
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]

# Its end is read past the buffer in which the head of an answer arrives.
LONG = b"x" * (io.DEFAULT_BUFFER_SIZE + 1000)
COOKIE = "Set-Cookie: session=secret; Path=/"


@pytest.mark.parametrize("first", [reply(b"one"), CHUNKED + chunked(b"one"), reply(b"")])
def test_two_downloads_use_one_connection(first: bytes, originate: Originate, fetch: Fetch) -> None:
    origin = originate([first, next_request, reply(b"two"), stall])
    fetch(f"{origin.base}/1")
    assert fetch(f"{origin.base}/2").md5 == hashlib.md5(b"two").hexdigest()
    assert [request.split()[1] for request in origin.requests] == [b"/1", b"/2"]
    assert origin.connections == 1
    assert fetch.transport.connects == 1


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ssl.SSLContext, Fetch]]:
    """The context of an origin, and downloads that trust it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    fetch = Fetch(Transport(Guard(allow=LOOPBACK), ca_bundle=tmp_path / "ca.pem"))
    yield context, fetch
    fetch.transport.close()


def test_tls_connections_are_reused(
    originate: Originate, tls: tuple[ssl.SSLContext, Fetch]
) -> None:
    context, fetch = tls
    origin = originate([reply(b"one"), next_request, reply(b"two")], context=context)
    assert [fetch(origin.base).size, fetch(origin.base).size] == [3, 3]
    assert origin.connections == 1


def test_a_timeout_is_set_once_for_each_connection(
    originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, another thread would take the interpreter."""
    origin = originate([reply(b"one"), next_request, reply(b"two"), next_request, reply(LONG)])
    fetch(origin.base)
    calls: list[float | None] = []
    monkeypatch.setattr(socket.socket, "settimeout", lambda _self, value: calls.append(value))
    assert [fetch(origin.base).size, fetch(origin.base).size] == [3, len(LONG)]
    assert origin.connections == 1
    assert calls == []


@pytest.mark.parametrize("headers", [("Connection: close",), ("Connection: keep-alive, Close",)])
def test_a_connection_that_is_to_be_closed(
    headers: tuple[str, ...], originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"one", *headers), stall])
    assert [fetch(origin.base).size, fetch(origin.base).size] == [3, 3]
    assert origin.connections == 2


@pytest.mark.parametrize("end", [None, reset])
def test_closed_kept_connection_is_replaced(
    end: Step | None, originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"one"), *([end] if end else [])], [reply(b"two")])
    assert fetch(origin.base).size == 3
    origin.join(0)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize("end", [[], [reset], [b"HTT"]])
def test_a_kept_connection_that_is_closed_on_the_request(
    end: list[Step], originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"one"), next_request, *end], [reply(b"two")])
    fetch(origin.base)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert (origin.connections, len(origin.requests)) == (2, 3)


def damage(peer: Peer) -> None:
    """Send what is not a TLS record."""
    os.write(peer.connection.fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)


def say_goodbye(peer: Peer) -> None:
    """Send a close_notify."""
    assert isinstance(peer.connection, ssl.SSLSocket)
    peer.connection.unwrap()


def think(peer: Peer) -> None:
    """Answer later than a kept connection may be silent."""
    peer.origin.is_released.wait(2)


STRAYS = [b"\r\n", b"\n", b"\0", b"0\r\n\r\n", b"evil", b"HTTP/1.1 20\r\n\r\n", b"x" * 400_000]


@pytest.mark.parametrize("first", [reply(b"one"), CHUNKED + chunked(b"one"), reply(b"")])
def test_silent_kept_connection_is_replaced(
    first: bytes, originate: Originate, fetch: Fetch
) -> None:
    """It is given up after CONNECT_TIMEOUT, as a new connection without an answer would be."""
    origin = originate([first, next_request, stall], [reply(b"two")])
    fetch(origin.base)
    digest = fetch(origin.base, connect_timeout=1, read_timeout=600, deadline=600)
    assert digest.md5 == hashlib.md5(b"two").hexdigest()
    assert (origin.connections, len(origin.requests)) == (2, 3)


def test_a_slow_answer_is_waited_for_on_the_new_connection(
    originate: Originate, fetch: Fetch
) -> None:
    slow = [think, reply(b"two")]
    origin = originate([reply(b"one"), next_request, *slow], slow)
    fetch(origin.base)
    assert fetch(origin.base, connect_timeout=1).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize("stray", STRAYS)
def test_stray_bytes_before_the_answer(stray: bytes, originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"one"), next_request, stray, reply(b"evil")], [reply(b"two")])
    fetch(origin.base)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize("stray", [*STRAYS, reply(b"evil"), b""])
@pytest.mark.parametrize("first", [reply(b"one"), CHUNKED + chunked(b"one"), reply(LONG)])
def test_bytes_right_behind_the_answer(
    stray: bytes, first: bytes, originate: Originate, fetch: Fetch
) -> None:
    """Behind a short answer, they came with it, and the socket no longer has them."""
    rest = [next_request, reply(b"evil" if stray else b"two")]
    origin = originate([first + stray, *rest], [reply(b"two")])
    fetch(origin.base)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == (2 if stray else 1)


def test_half_an_answer_right_behind_the_answer(originate: Originate, fetch: Fetch) -> None:
    evil = reply(b"evil" * 100)
    origin = originate([reply(b"one") + evil[:50], next_request, evil[50:]], [reply(b"two")])
    fetch(origin.base)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize(
    "steps",
    [[b"\r\n", reply(b"evil")], [damage], [stall], [say_goodbye], [], [reset]],
    ids=["stray", "damaged", "silent", "goodbye", "end", "reset"],
)
def test_a_kept_connection_over_tls(
    steps: list[Step], originate: Originate, tls: tuple[ssl.SSLContext, Fetch]
) -> None:
    context, fetch = tls
    origin = originate([reply(b"one"), next_request, *steps], [reply(b"two")], context=context)
    fetch(origin.base)
    digest = fetch(origin.base, connect_timeout=2)
    assert digest.md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize("stray", [b"\r\n", reply(b"evil")])
@pytest.mark.parametrize("body", [b"one", LONG], ids=["short", "long"])
def test_bytes_in_the_record_of_the_answer(
    body: bytes, stray: bytes, originate: Originate, tls: tuple[ssl.SSLContext, Fetch]
) -> None:
    context, fetch = tls
    script = [reply(body) + stray, next_request, reply(b"evil")]
    origin = originate(script, [reply(b"two")], context=context)
    fetch(origin.base)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()
    assert origin.connections == 2


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([b"HTTP/1.1 200 OK\r\n"], FailureCode.INCOMPLETE_BODY),
        ([b"HTTP/1.1 200 OK\r\n", reset], FailureCode.INCOMPLETE_BODY),
        ([b"HTTP/1.1 200 OK\r\n", stall], FailureCode.TIMEOUT),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], FailureCode.INCOMPLETE_BODY),
        ([reply(b"two")[:-1]], FailureCode.INCOMPLETE_BODY),
        ([reply(b"two", "Transfer-Encoding: gzip")], FailureCode.PROTOCOL_ERROR),
        ([reply(b"two", status="503 Busy")], FailureCode.HTTP_STATUS),
    ],
)
def test_started_answer_is_not_requested_again(
    steps: list[Step], code: FailureCode, originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"one"), next_request, *steps])
    fetch(origin.base)
    assert fetch.code(origin.base, read_timeout=0.5) is code
    assert origin.connections == 1


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([], FailureCode.INCOMPLETE_BODY),
        ([reset], FailureCode.INCOMPLETE_BODY),
        ([stall], FailureCode.TIMEOUT),
        ([b"\r\n", reply(b"two")], FailureCode.PROTOCOL_ERROR),
    ],
)
def test_a_new_connection_is_not_tried_twice(
    steps: list[Step], code: FailureCode, originate: Originate, fetch: Fetch
) -> None:
    origin = originate(steps)
    assert fetch.code(origin.base, read_timeout=0.3) is code
    assert origin.connections == 1


def test_the_deadline_holds_on_a_kept_connection(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"one"), next_request, stall], [reply(b"two")])
    fetch(origin.base)
    assert fetch.code(origin.base, deadline=0.3) is FailureCode.DEADLINE
    assert origin.connections == 1


def test_a_name_is_not_looked_up_twice_when_it_fails(
    originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = originate([reply(b"one"), stall])
    fetch(origin.base)
    questions: list[object] = []

    def fail(host: object, *_args: object, **_kwargs: object) -> NoReturn:
        questions.append(host)
        raise socket.gaierror(-3, "again")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert fetch.code("http://other.example") is FailureCode.DNS_ERROR
    assert questions == ["other.example"]


def test_kept_connection_is_not_retried_three_times(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"one"), next_request], [])
    fetch(origin.base)
    assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
    assert origin.connections == 2


def test_an_unread_body_is_not_kept(originate: Originate, fetch: Fetch) -> None:
    """Its rest would be taken for the next answer."""
    poison = reply(b"evil")
    for script in (
        [reply(poison, status="404 Not Found")],
        [reply(poison, "Location: /x", status="302 Found")],
        [reply(poison + b"x" * 100)],
    ):
        origin = originate([*script, next_request, reply(b"evil")], [reply(b"good")])
        fetch.code(origin.base, max_bytes=90, max_redirects=0)
        assert fetch(origin.base, max_bytes=90).md5 == hashlib.md5(b"good").hexdigest()


def test_more_than_was_stated_is_no_answer(originate: Originate, fetch: Fetch) -> None:
    """What comes before the next request is asked for cannot be its answer."""
    origin = originate([reply(b"one"), reply(b"evil") * 2000, stall], [reply(b"two")])
    fetch(origin.base)
    wait_for(lambda: origin.sent > 80_000)
    assert fetch(origin.base).md5 == hashlib.md5(b"two").hexdigest()


def test_second_download_reveals_nothing_of_the_first(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"one", COOKIE), next_request, reply(b"two"), stall])
    fetch(f"{origin.base}/1?token=secret")
    fetch(f"{origin.base}/2")
    second = origin.requests[1].lower()
    for word in (b"cookie", b"authorization", b"referer", b"secret"):
        assert word not in second


def test_the_second_downloads_bounds_apply(originate: Originate, fetch: Fetch) -> None:
    slow = drip(reply(b"x" * 1000), 0.01)
    limits: list[tuple[dict[str, float], FailureCode]] = [
        ({"deadline": 0.2}, FailureCode.DEADLINE),
        ({"min_speed": 10**6, "min_speed_window": 0.2}, FailureCode.TOO_SLOW),
        ({"max_bytes": 9}, FailureCode.TOO_LARGE),
        ({"read_timeout": 1.0}, FailureCode.TIMEOUT),
    ]
    for changes, code in limits:
        steps = [b"HTTP/1.1 200 OK\r\n", stall] if code is FailureCode.TIMEOUT else [slow]
        origin = originate([reply(b"one"), next_request, *steps])
        fetch(origin.base)
        assert fetch.code(origin.base, **changes) is code
        assert origin.connections == 1


def test_after_the_first_downloads_deadline(originate: Originate, fetch: Fetch) -> None:
    """A kept connection does not remember when the first download had to be over."""
    origin = originate([reply(b"one"), next_request, drip(reply(b"two"), 0.03), stall])
    fetch(origin.base, deadline=1)
    assert fetch(origin.base).size == 3
    assert origin.connections == 1


def test_hosts_do_not_share_a_connection(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"one"), stall])
    fetch(f"http://127.0.0.1:{origin.port}")
    fetch(f"http://localhost:{origin.port}")
    assert origin.connections == 2


@pytest.mark.parametrize(
    "sent", [CHUNKED + b"zz\r\n", reply(b"x" * 100)[:-1], reply(b"", status="404 No")]
)
def test_a_failed_download_leaves_no_connection(
    sent: bytes, originate: Originate, fetch: Fetch
) -> None:
    received: list[bytes] = []
    origin = originate([sent, lambda peer: received.append(peer.connection.recv(1))])
    fetch.code(origin.base, max_bytes=9)
    origin.join(0)
    assert received == [b""]
