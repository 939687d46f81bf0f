"""One connection serves the downloads from a host, and nothing else passes from one to the next."""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from actors.fetch.guard import Guard
from actors.fetch.transport import Transport
from tasks.task import FailureCode
from tests.unit.fetch.conftest import LOOPBACK, Fetch
from tests.unit.fetch.origin import (
    CHUNKED,
    RawOrigin,
    Step,
    chunked,
    drip,
    next_request,
    reply,
    reset,
    stall,
)
from tests.waiting import wait_for

Originate = Callable[..., RawOrigin]

COOKIE = "Set-Cookie: session=secret; Path=/"


@pytest.mark.parametrize("first", [reply(b"one"), CHUNKED + chunked(b"one"), reply(b"")])
def test_two_downloads_use_one_connection(first: bytes, originate: Originate, fetch: Fetch) -> None:
    origin = originate([first, next_request, reply(b"two"), stall])
    fetch(f"{origin.base}/1")
    assert fetch(f"{origin.base}/2").md5 == hashlib.md5(b"two").hexdigest()
    assert [request.split()[1] for request in origin.requests] == [b"/1", b"/2"]
    assert origin.connections == 1
    assert fetch.transport.connects == 1


def test_over_tls(originate: Originate, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    origin = originate([reply(b"one"), next_request, reply(b"two")], context=context)
    fetch = Fetch(Transport(Guard(allow=LOOPBACK), ca_bundle=tmp_path / "ca.pem"))
    assert [fetch(origin.base).size, fetch(origin.base).size] == [3, 3]
    assert origin.connections == 1
    fetch.transport.close()


@pytest.mark.parametrize("headers", [("Connection: close",), ("Connection: keep-alive, Close",)])
def test_a_connection_that_is_to_be_closed(
    headers: tuple[str, ...], originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"one", *headers), stall])
    assert [fetch(origin.base).size, fetch(origin.base).size] == [3, 3]
    assert origin.connections == 2


@pytest.mark.parametrize("end", [None, reset])
def test_a_kept_connection_that_was_closed_meanwhile(
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


def test_a_new_connection_is_not_tried_twice(originate: Originate, fetch: Fetch) -> None:
    origin = originate([])
    assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
    assert origin.connections == 1


def test_nor_is_a_kept_one_three_times(originate: Originate, fetch: Fetch) -> None:
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


def test_nothing_is_told_of_the_first_download(originate: Originate, fetch: Fetch) -> None:
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
        ({"read_timeout": 0.2}, FailureCode.TIMEOUT),
    ]
    for changes, code in limits:
        step = stall if code is FailureCode.TIMEOUT else slow
        origin = originate([reply(b"one"), next_request, step])
        fetch(origin.base)
        assert fetch.code(origin.base, **changes) is code
        assert origin.connections == 1


def test_after_the_first_downloads_deadline(originate: Originate, fetch: Fetch) -> None:
    """A kept connection does not remember when the first download had to be over."""
    origin = originate([reply(b"one"), next_request, drip(reply(b"two"), 0.01), stall])
    fetch(origin.base, deadline=0.2)
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
