"""No origin outlasts a limit: in time, speed, size or number of redirects."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from devtools.servers.raw_origin import (
    CHUNKED,
    Peer,
    RawOrigin,
    Step,
    chunked,
    drip,
    forever,
    redirect,
    reply,
    stall,
)
from fetch.bounds import MIN_SPEED_WINDOW, Limits
from fetch.errors import FetchCancelledError
from settings import Settings
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import Fetch

Originate = Callable[..., RawOrigin]

HEAD = b"HTTP/1.1 200 OK\r\n"
ENDLESS = HEAD + b"\r\n"
DRIPS: list[tuple[str, list[Step]]] = [
    ("headers", [drip(reply(b"x" * 5000), 0.01)]),
    ("endless headers", [HEAD, forever(b"X-A: b\r\n", pause=0.01)]),
    ("interim responses", [forever(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.1)]),
    ("body", [reply(b"x" * 5000)[:-5000], drip(b"x" * 5000, 0.01)]),
    ("body without length", [ENDLESS, forever(b"x", pause=0.01)]),
    ("chunks", [CHUNKED, forever(b"1\r\nx\r\n", pause=0.01)]),
    ("a chunk's size", [CHUNKED, forever(b"0", pause=0.01)]),
    ("trailers", [CHUNKED, b"0\r\n", forever(b"X-A: b\r\n", pause=0.01)]),
]
FOREVER = 600.0
drips = pytest.mark.parametrize("script", [s for _, s in DRIPS], ids=[name for name, _ in DRIPS])


class TestTime:
    @drips
    def test_deadline(self, script: list[Step], originate: Originate, fetch: Fetch) -> None:
        error = fetch.failure(originate(script).base, deadline=0.3, read_timeout=FOREVER)
        assert (error.failure.code, error.is_permanent) == (FailureCode.DEADLINE, True)

    def test_deadline_of_a_fast_endless_body(self, originate: Originate, fetch: Fetch) -> None:
        url = originate([ENDLESS, forever(b"x" * 2**16)]).base
        assert fetch.code(url, deadline=0.3, max_bytes=2**60) is FailureCode.DEADLINE

    def test_deadline_holds_over_redirects(self, originate: Originate, fetch: Fetch) -> None:
        url = originate([drip(redirect("/"), 0.005)]).base
        assert fetch.code(url, deadline=0.4, max_redirects=100) is FailureCode.DEADLINE

    @pytest.mark.parametrize("sent", [b"", b"HT", HEAD, reply(b"hi")[:-1], CHUNKED + b"2\r\nhi"])
    def test_read_timeout(self, sent: bytes, originate: Originate, fetch: Fetch) -> None:
        began = time.monotonic()
        error = fetch.failure(originate([sent, stall]).base, read_timeout=0.2, deadline=FOREVER)
        assert (error.failure.code, error.is_permanent) == (FailureCode.TIMEOUT, False)
        assert time.monotonic() - began >= 0.2

    def test_a_pause_shorter_than_the_timeout(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([drip(reply(b"hi"), 0.03)])
        assert fetch(origin.base, read_timeout=1).size == 2

    def test_refused_port(self, fetch: Fetch) -> None:
        with socket.socket() as bound:  # and not listening
            bound.bind(("127.0.0.1", 0))
            error = fetch.failure(f"http://127.0.0.1:{bound.getsockname()[1]}")
        assert (error.failure.code, error.is_permanent) == (FailureCode.CONNECT_ERROR, False)

    def test_connection_attempt_without_an_answer_times_out(self, fetch: Fetch) -> None:
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)  # a queue of one: what comes later gets no answer
            for each in (first, second):
                each.settimeout(0)
                each.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            code = fetch.code(url, connect_timeout=0.2, deadline=FOREVER)
        assert code is FailureCode.CONNECT_ERROR

    def test_look_up_that_hangs(self, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
        is_released = threading.Event()

        def hang(*_args: object, **_kwargs: object) -> list[object]:
            is_released.wait()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        error = fetch.failure("http://example.com", connect_timeout=0.2, deadline=FOREVER)
        code = fetch.code("http://example.com", deadline=0.2, connect_timeout=FOREVER)
        assert code is FailureCode.DEADLINE
        assert (error.failure.code, error.is_permanent) == (FailureCode.DNS_ERROR, False)
        is_released.set()

    @pytest.mark.parametrize(
        "answer", [socket.gaierror(-2, "no"), UnicodeError("label"), OSError("no"), []]
    )
    def test_look_up_that_fails(
        self, answer: object, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def look_up(*_args: object, **_kwargs: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert fetch.code("http://example.com") is FailureCode.DNS_ERROR


class TestCancel:
    @drips
    def test_while_the_origin_drips(
        self, script: list[Step], originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate(script)
        self._cancel_once(lambda: bool(origin.requests), fetch, origin.base)

    @pytest.mark.parametrize("sent", [b"", HEAD, reply(b"hi")[:-1]])
    def test_while_the_origin_is_silent(
        self, sent: bytes, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([sent, stall])
        self._cancel_once(lambda: bool(origin.requests), fetch, origin.base)

    def test_while_the_origin_is_fast(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([ENDLESS, forever(b"x" * 2**16)])
        self._cancel_once(lambda: origin.sent > 2**24, fetch, origin.base)

    def test_between_two_tries(self, originate: Originate, fetch: Fetch) -> None:
        busy = reply(b"", "Retry-After: 60", status="503 Busy")
        origin = originate([reply(b"hi", 'ETag: "1"', "Accept-Ranges: bytes")[:-1]], [busy])
        self._cancel_once(lambda: origin.connections > 1, fetch, origin.base)

    def test_during_a_look_up(self, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
        is_asked, is_released = threading.Event(), threading.Event()

        def hang(*_args: object, **_kwargs: object) -> list[object]:
            is_asked.set()
            is_released.wait()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        self._cancel_once(is_asked.is_set, fetch, "http://example.com")
        is_released.set()

    def _cancel_once(self, fact: Callable[[], bool], fetch: Fetch, url: str) -> None:
        fetch.is_cancelled = fact
        with pytest.raises(FetchCancelledError):
            fetch(url, connect_timeout=FOREVER, read_timeout=FOREVER, deadline=FOREVER)


class TestSpeed:
    @drips
    def test_too_slow(self, script: list[Step], originate: Originate, fetch: Fetch) -> None:
        url = originate(script).base
        error = fetch.failure(url, min_speed=5000, min_speed_window=0.2, read_timeout=1)
        assert (error.failure.code, error.is_permanent) == (FailureCode.TOO_SLOW, False)
        assert error.failure.message == (
            "The server sent less than 5000 bytes per second for 0.2 seconds."
        )

    def test_fast_enough(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([HEAD + b"Content-Length: 60\r\n\r\n", drip(b"x" * 60, 0.03)])
        assert fetch(origin.base, min_speed=1, min_speed_window=0.5).size == 60

    def test_fast_start_is_no_credit_for_later_windows(
        self, originate: Originate, fetch: Fetch
    ) -> None:

        origin = originate([ENDLESS + b"x" * 10**6, forever(b"x", pause=0.01)])
        assert fetch.code(origin.base, min_speed=1000, min_speed_window=0.2) is FailureCode.TOO_SLOW

    @pytest.mark.parametrize(
        ("sent", "rest"),
        [
            (b"", reply(b"hi")),
            (b"HTTP/1.1 1", b"00 Continue\r\n\r\n" + reply(b"hi")),
            (b"HTTP/1.1 100 Continue\r\n\r\n", reply(b"hi")),
            (HEAD, b"Content-Length: 2\r\n\r\nhi"),
            (reply(b"hi")[:-2], b"hi"),
            (ENDLESS, b"hi"),
            (CHUNKED, chunked(b"hi")),
        ],
    )
    def test_only_the_read_timeout_bounds_the_wait_for_the_first_byte(
        self, sent: bytes, rest: bytes, originate: Originate, fetch: Fetch
    ) -> None:
        def think(peer: Peer) -> None:
            peer.origin.is_released.wait(0.4)

        url = originate([sent, think, rest]).base
        assert fetch(url, min_speed=1000, min_speed_window=0.2, read_timeout=5).size == 2
        error = fetch.failure(
            originate([sent, stall]).base, min_speed=1000, min_speed_window=0.2, read_timeout=0.4
        )
        assert error.failure.code is FailureCode.TIMEOUT

    def test_waits_before_the_header_and_before_the_body(
        self, originate: Originate, fetch: Fetch
    ) -> None:
        def think(peer: Peer) -> None:
            peer.origin.is_released.wait(1.5)

        origin = originate([think, reply(b"hi")[:-2], think, b"hi"])
        assert fetch(origin.base, min_speed=1000, min_speed_window=0.2, read_timeout=2.9).size == 2

    def test_the_window_begins_with_the_first_byte_of_the_body(
        self, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([ENDLESS + b"x", forever(b"x", pause=0.01)])
        limits = {"min_speed": 5000, "min_speed_window": 0.2, "read_timeout": 1000}
        assert fetch.code(origin.base, **limits) is FailureCode.TOO_SLOW

    def test_hops_are_measured_apart(self, originate: Originate, fetch: Fetch) -> None:
        """Three answers that take their time are no slow file."""

        def think(peer: Peer) -> None:
            peer.origin.is_released.wait(0.15)

        scripts = [*([think, redirect(f"/{n}")] for n in range(3)), [think, reply(b"hi")]]
        digest = fetch(originate(*scripts).base, min_speed=1000, min_speed_window=0.3)
        assert digest.size == 2

    def test_our_own_time_is_not_the_origins(
        self, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([reply(b"hi")])
        began = time.monotonic()

        def look_up(*_args: object, **_kwargs: object) -> list[object]:
            threading.Event().wait(0.3)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", origin.port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert fetch("http://slow.example", min_speed=10**6, min_speed_window=0.2).size == 2
        assert time.monotonic() - began > 0.3

    def test_slow_download_is_not_resumed(self, originate: Originate, fetch: Fetch) -> None:
        head = reply(b"x" * 5000, 'ETag: "1"', "Accept-Ranges: bytes")[:-5000]
        origin = originate([head, drip(b"x" * 5000, 0.01)])
        assert fetch.code(origin.base, min_speed=5000, min_speed_window=0.2) is FailureCode.TOO_SLOW
        assert origin.connections == 1

    def test_settings(self) -> None:
        limits = Limits.from_settings(Settings(min_speed=2048))
        assert (limits.min_speed, limits.min_speed_window) == (2048, MIN_SPEED_WINDOW)


class TestSize:
    def test_by_its_header(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([reply(b"x" * 11)[:-11], stall])
        error = fetch.failure(origin.base, max_bytes=10)
        assert (error.failure.code, error.is_permanent) == (FailureCode.TOO_LARGE, True)
        assert fetch.code(originate([HEAD + b"Content-Length: " + b"9" * 18 + b"\r\n\r\n"]).base)

    @pytest.mark.parametrize("head", [ENDLESS, CHUNKED + b"ff\r\n"])
    def test_on_the_byte_that_crosses_it(
        self, head: bytes, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([head + b"x" * 11, stall])
        assert fetch.code(origin.base, max_bytes=10) is FailureCode.TOO_LARGE

    @pytest.mark.parametrize(
        "sent", [ENDLESS + b"x" * 10, CHUNKED + chunked(b"x" * 9, b"x"), reply(b"x" * 10)]
    )
    def test_exactly(self, sent: bytes, originate: Originate, fetch: Fetch) -> None:
        assert fetch(originate([sent]).base, max_bytes=10).size == 10

    def test_endless(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([CHUNKED, forever(b"10000\r\n" + b"x" * 2**16 + b"\r\n")])
        assert fetch.code(origin.base, max_bytes=2**20) is FailureCode.TOO_LARGE


class TestRedirects:
    def test_as_many_as_there_may_be(self, originate: Originate, fetch: Fetch) -> None:
        scripts = [*([redirect(f"/{n}")] for n in range(3)), [reply(b"hi")]]
        assert fetch(originate(*scripts).base, max_redirects=3).size == 2
        error = fetch.failure(originate(*scripts).base, max_redirects=2)
        assert (error.failure.code, error.is_permanent) == (FailureCode.TOO_MANY_REDIRECTS, True)

    def test_none(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([redirect("/x")])
        assert fetch.code(origin.base, max_redirects=0) is FailureCode.TOO_MANY_REDIRECTS
        assert origin.connections == 1

    def test_loop(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([redirect("/x")], [redirect("/y")])
        assert fetch.code(f"{origin.base}/y", max_redirects=20) is FailureCode.TOO_MANY_REDIRECTS
        assert len(origin.requests) == 21

    @pytest.mark.parametrize(
        ("base", "location", "expected"),
        [
            ("/a/b?c", "d", "/a/d"),
            ("/a/b?c", "../d?e", "/d?e"),
            ("/a/b?c", "/d", "/d"),
            ("/a/b?c", "?d", "/a/b?d"),
            ("/a/b?c", "#d", "/a/b?c"),
            ("/a/b?c", "//127.0.0.1:{port}/d", "/d"),
            ("/a/b?c", "http://127.0.0.1:{port}/d#e", "/d"),
            ("/a/b?c", "HTTP://127.0.0.1:{port}", "/"),
        ],
    )
    def test_relative(
        self, base: str, location: str, expected: str, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([])
        location = location.replace("{port}", str(origin.port))
        origin.scripts = [[redirect(location)], [reply(b"hi")]]
        digest = fetch(origin.base + base)
        assert origin.requests[1].startswith(f"GET {expected} HTTP/1.1\r\n".encode())
        assert digest.final_url.lower().startswith(origin.base)

    @pytest.mark.parametrize(
        "body", [forever(b"x" * 2**16), stall, forever(b"zz\r\n"), drip(b"x" * 1000, 0.1)]
    )
    @pytest.mark.parametrize(
        "framing", ["Transfer-Encoding: chunked", "X-A: b", "Content-Length: 999999999999999"]
    )
    def test_the_body_is_never_read(
        self, body: Step, framing: str, originate: Originate, fetch: Fetch
    ) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: /x\r\n{framing}\r\n\r\n".encode()
        origin = originate([head, body], [reply(b"hi")])
        assert fetch(origin.base, max_bytes=10).size == 2

    @pytest.mark.parametrize(
        "location",
        [
            "ftp://127.0.0.1/x",
            "file:///etc/passwd",
            "gopher://127.0.0.1:70/x",
            "javascript:alert(1)",
            "data:,x",
            "http://user@127.0.0.1/",
            "http://user:secret@127.0.0.1/",
            "http://127.0.0.1@example.com/",
            "//user@127.0.0.1/",
            "/a\tb",
            "/a\rb",
            "/a\r\tb",
            "\x01/a",
            "/a\x7f",
            "ht\ttp://127.0.0.1/",
            "http://127.0.0.\t1/",
            "/a\\b",
            "http:/x",
            "http:x",
            "http:///x",
            "http://",
            "http://[::1",
            "http://[::1%25eth0]/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://127%2e0.0.1/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:25/",
            "http://\xff/",
            "http://a\xe2\x80\xae.example/",
            "http://\xe3\x80\x80.example/",
            "http://127.0.0.1\xe3\x80\x80/",
            "/" + "x" * 9000,
        ],
    )
    def test_to_an_unacceptable_url(
        self, location: str, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([redirect(location)])
        error = fetch.failure(origin.base)
        assert (error.failure.code, error.is_permanent) == (FailureCode.INVALID_REDIRECT, True)
        assert "127.0.0.1" not in error.failure.message
        assert "secret" not in error.failure.message
        assert origin.connections == 1

    @pytest.mark.parametrize(
        "headers", [(), ("Location:",), ("Location:   ",), ("Location: /a", "Location: /b")]
    )
    def test_to_nowhere(self, headers: tuple[str, ...], originate: Originate, fetch: Fetch) -> None:
        origin = originate([reply(b"hi", *headers, status="302 Found")])
        assert fetch.code(origin.base) is FailureCode.INVALID_REDIRECT

    def test_twice_to_the_same_place(self, originate: Originate, fetch: Fetch) -> None:
        headers = ("Location: /a", "Location: /a")
        origin = originate([reply(b"", *headers, status="302 Found")], [reply(b"hi")])
        assert fetch(origin.base).md5 == hashlib.md5(b"hi").hexdigest()
