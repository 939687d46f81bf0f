"""After a break a download goes on with the same version of the file, or not at all."""

import hashlib
import random
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

import pytest

from devtools.servers.raw_origin import (
    Peer,
    RawOrigin,
    Script,
    chunked,
    drip,
    forever,
    redirect,
    reply,
    reset,
    stall,
)
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.resume import next_pause, patience
from fetch.transport import Transport
from tasks.digests import Algorithm
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]

MIB = 2**20
BODY = random.Random(1).randbytes(4 * MIB)
OUTAGE = [0, 1, 3, 9, 27, 60, 60, 60, 60, 60, 60]  # the pauses of eleven resumes
RANGES = "Accept-Ranges: bytes"
STRONG = ('ETag: "v1"', RANGES)
DATED = (
    "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT",
    "Date: Wed, 21 Oct 2015 07:28:10 GMT",
    RANGES,
)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


pytestmark = pytest.mark.usefixtures("pauses")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the file worth eight minutes of patience, as 480 MiB are."""
    monkeypatch.setattr("fetch.resume.ASSUMED_SPEED", 8192)


def header(request: bytes, name: str) -> str | None:
    match = re.search(rf"\r\n{name}: ([^\r]*)".encode(), request)
    return match[1].decode() if match else None


def part(body: bytes, start: int, *headers: str, total: int | None = None) -> bytes:
    """The answer to a Range request: all from `start` on."""
    total = len(body) if total is None else total
    content_range = f"Content-Range: bytes {start}-{total - 1}/{total}"
    return reply(body[start:], content_range, *headers, status="206 Partial Content")


class BreakingFile:
    """A file whose connections break at those offsets, by FIN and by RST in turn."""

    def __init__(self, body: bytes, headers: Sequence[str], breaks: Sequence[int]) -> None:
        self._body = body
        self._headers = headers
        self._breaks = iter(sorted(breaks))
        self._connections = count()

    def __call__(self, peer: Peer) -> None:
        wanted = header(peer.origin.requests[-1], "Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        end = next(self._breaks, len(self._body))
        whole = part(self._body, start, *self._headers) if wanted else None
        whole = whole or reply(self._body, *self._headers)
        peer.send(whole[: len(whole) - len(self._body) + end])
        if next(self._connections) % 2 and end < len(self._body):
            reset(peer)


class TestSameVersion:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_twenty_breaks_in_64_mib(self, seed: int, originate: Originate, fetch: Fetch) -> None:
        chance = random.Random(seed)
        body = chance.randbytes(64 * MIB)
        breaks = [chance.randrange(len(body)) for _ in range(20)]
        origin = originate([BreakingFile(body, STRONG, breaks)])
        digest = fetch(origin.base)
        assert (digest.md5, digest.size) == (md5(body), len(body))
        assert digest.is_length_verified
        assert origin.connections == 21
        assert origin.sent <= 1.1 * len(body)

    def test_every_digest_goes_on(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [MIB + 1, 3 * MIB - 1])])
        fetch.algorithms = list(Algorithm)
        assert fetch(origin.base).hexdigests == {
            each: hashlib.new(each.value, BODY).hexdigest() for each in Algorithm
        }
        assert origin.connections == 3

    @pytest.mark.parametrize(
        ("headers", "validator"),
        [
            (STRONG, '"v1"'),
            (('ETag: ""', RANGES), '""'),
            (('ETag: "a,b;c"', "Accept-Ranges: Bytes"), '"a,b;c"'),
            (DATED, "Wed, 21 Oct 2015 07:28:00 GMT"),
            ((*DATED, 'ETag: "v1"'), '"v1"'),
        ],
    )
    def test_request(
        self, headers: Sequence[str], validator: str, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([BreakingFile(BODY, headers, [MIB, 2 * MIB])])
        assert fetch(f"{origin.base}/f?x").md5 == md5(BODY)
        first, second, third = origin.requests
        assert header(first, "Range") is header(first, "If-Range") is None
        assert [header(each, "Range") for each in (second, third)] == [
            f"bytes={MIB}-",
            f"bytes={2 * MIB}-",
        ]
        assert header(second, "If-Range") == header(third, "If-Range") == validator
        assert header(second, "Accept-Encoding") == "identity"
        assert second.startswith(b"GET /f?x HTTP/1.1\r\n")

    def test_break_before_the_first_byte(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [0])])
        assert fetch(origin.base).md5 == md5(BODY)
        assert header(origin.requests[1], "Range") == "bytes=0-"

    def test_range_goes_to_where_the_redirect_led(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([redirect("/f")], [BreakingFile(BODY, STRONG, [MIB])])
        digest = fetch(origin.base)
        assert (digest.md5, digest.final_url) == (md5(BODY), f"{origin.base}/f")
        assert origin.requests[2].startswith(b"GET /f ")

    @pytest.mark.parametrize("answer", [b"", reply(b"", status="503 Busy"), b"HTTP/1.1 2"])
    def test_trouble_in_between(self, answer: bytes, originate: Originate, fetch: Fetch) -> None:
        file = BreakingFile(BODY, STRONG, [MIB])
        origin = originate([file], [answer], [answer], [file])
        assert fetch(origin.base).md5 == md5(BODY)

    @pytest.mark.parametrize("answer", [reply(b"", status="403 Expired"), redirect("/login")])
    def test_an_address_that_was_good_for_once(
        self, answer: bytes, originate: Originate, fetch: Fetch
    ) -> None:
        """Then the first URL is asked again, and the file begun anew."""
        origin = originate(
            [redirect("/once")],
            [BreakingFile(BODY, STRONG, [MIB])],
            [answer],
            [redirect("/twice")],
            [reply(BODY[:MIB])],
        )
        digest = fetch(origin.base)
        assert (digest.md5, digest.final_url) == (md5(BODY[:MIB]), f"{origin.base}/twice")


class Test200ToARange:
    """Nothing of a 200 to a Range request is used: some servers send the rest under it."""

    @pytest.mark.parametrize(
        "lie",
        [
            # modelscope_hub#50, Azurite#367: a 206 in all but its status.
            reply(BODY[MIB:], f"Content-Range: bytes {MIB}-{4 * MIB - 1}/{4 * MIB}", *STRONG),
            reply(BODY[MIB:], *STRONG),
            reply(BODY[MIB:]),
            reply(BODY[MIB:], 'ETag: "v2"', RANGES),
            b"HTTP/1.1 200 OK\r\n\r\n" + BODY[MIB:],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY[MIB:]),
            reply(b""),
            reply(b"The file is on its way."),
        ],
        ids=count(),
    )
    @pytest.mark.parametrize("headers", [STRONG, DATED])
    def test_a_part_under_200_is_not_the_file(
        self, headers: Sequence[str], lie: bytes, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([BreakingFile(BODY, headers, [MIB])], [lie], [reply(BODY, *headers)])
        digest = fetch(origin.base)
        assert (digest.md5, digest.size) == (md5(BODY), len(BODY))
        assert header(origin.requests[1], "Range") == f"bytes={MIB}-"
        assert header(origin.requests[2], "Range") is header(origin.requests[2], "If-Range") is None

    def test_the_next_request_goes_to_the_first_url(
        self, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate(
            [redirect("/once")],
            [BreakingFile(BODY, STRONG, [MIB])],
            [reply(BODY[MIB:])],
            [redirect("/twice")],
            [reply(BODY)],
        )
        digest = fetch(origin.base)
        assert (digest.md5, digest.final_url) == (md5(BODY), f"{origin.base}/twice")

    def test_an_endless_200_is_not_read(self, originate: Originate, fetch: Fetch) -> None:
        endless = [b"HTTP/1.1 200 OK\r\n\r\n", forever(b"x" * MIB)]
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], endless, [reply(BODY)])
        assert fetch(origin.base).md5 == md5(BODY)
        assert origin.sent < 64 * MIB

    def test_a_200_may_name_the_range_of_the_whole_file(
        self, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([reply(BODY[:MIB], f"Content-Range: bytes 0-{MIB - 1}/{MIB}")])
        assert fetch(origin.base).md5 == md5(BODY[:MIB])

    @pytest.mark.parametrize(
        "content_range",
        [
            f"bytes 0-{MIB - 1}/{2 * MIB}",
            f"bytes 0-{2 * MIB - 1}/{2 * MIB}",
            f"bytes {MIB}-{2 * MIB - 1}/{2 * MIB}",
            f"bytes 0-{MIB - 1}/*",
            f"bytes */{MIB}",
            f"Bytes=0-{MIB}/*",
            f"items 0-1/2, bytes 0-{MIB - 1}/{2 * MIB}",
        ],
    )
    def test_a_200_may_not_name_another_range(
        self, content_range: str, originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([reply(BODY[:MIB], f"Content-Range: {content_range}")])
        assert fetch.code(origin.base) is FailureCode.PROTOCOL_ERROR


class TestOtherVersion:
    @pytest.mark.parametrize("size", [0, 1, MIB // 2, 3 * MIB, 6 * MIB])
    def test_200_starts_with_the_new_version(
        self, size: int, originate: Originate, fetch: Fetch
    ) -> None:
        other = random.Random(2).randbytes(size)
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [reply(other, 'ETag: "v2"')])
        digest = fetch(origin.base)
        assert (digest.md5, digest.size) == (md5(other), size)
        assert origin.connections == 3

    def test_206_without_an_etag_may_be_of_another_version(
        self, originate: Originate, fetch: Fetch
    ) -> None:
        """Its server has ranges, but may not know If-Range. So the file is downloaded again."""
        other = random.Random(2).randbytes(4 * MIB)
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [part(other, MIB)], [reply(other)])
        assert fetch(origin.base).md5 == md5(other)

    def test_the_new_version_breaks_too(self, originate: Originate, fetch: Fetch) -> None:
        other = random.Random(2).randbytes(2 * MIB)
        headers = ('ETag: "v2"', RANGES)
        origin = originate(
            [BreakingFile(BODY, STRONG, [3 * MIB])],
            [reply(other, *headers)],
            [reply(other, *headers)[:-MIB]],
            [part(other, MIB, *headers)],
        )
        assert fetch(origin.base).md5 == md5(other)
        assert header(origin.requests[3], "If-Range") == '"v2"'

    def test_the_new_version_is_too_large(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [reply(BODY + BODY)])
        assert fetch.code(origin.base, max_bytes=5 * MIB) is FailureCode.TOO_LARGE

    @pytest.mark.parametrize(
        "answer",
        [
            part(BODY, MIB - 1, *STRONG),
            part(BODY, MIB + 1, *STRONG),
            part(BODY, 0, *STRONG),
            part(BODY, MIB, *STRONG, total=4 * MIB + 1),
            part(BODY + b"x", MIB, *STRONG),
            part(BODY, MIB, 'ETag: "v2"'),
            part(BODY, MIB, 'ETag: W/"v1"'),
            part(BODY, MIB, "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"),
            part(BODY, MIB, 'ETag: "v2"', *DATED),
            part(BODY, MIB, "Content-Range: bytes 0-1/2", *STRONG),
            part(BODY, MIB, "Content-Encoding: gzip", *STRONG),
            part(BODY, MIB, *STRONG)[: -3 * MIB].replace(b"bytes 1", b"bytes=1"),
            part(BODY, MIB, *STRONG)[: -3 * MIB].replace(b"/4194304", b"/*"),
            part(BODY, MIB, *STRONG)[: -3 * MIB].replace(b"-4194303", b"-4194302"),
            reply(BODY[MIB:], *STRONG, status="206 Partial Content"),
            reply(b"", "Content-Range: bytes */9", status="416 Range Not Satisfiable"),
            # The right range, but another length of it.
            part(BODY, MIB, *STRONG).replace(b"Length: 3145728", b"Length: 3145720"),
            part(BODY, MIB, *STRONG).replace(b"Length: 3145728", b"Length: 3145730") + b"xx",
        ],
        ids=count(),
    )
    def test_changed(self, answer: bytes, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [answer])
        error = fetch.failure(origin.base)
        assert error.failure.code is FailureCode.CHANGED_DURING_DOWNLOAD
        assert not error.is_permanent

    def test_a_rest_without_end_is_not_read_on(self, originate: Originate, fetch: Fetch) -> None:
        head = part(BODY, MIB, *STRONG)[: -3 * MIB].replace(b"Content-Length", b"X-Length")
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [head, forever(b"x" * MIB)])
        assert fetch.code(origin.base) is FailureCode.CHANGED_DURING_DOWNLOAD
        assert origin.sent < 64 * MIB

    @pytest.mark.parametrize("seed", range(20))
    def test_never_a_digest_of_two_versions(
        self, seed: int, originate: Originate, fetch: Fetch
    ) -> None:
        """The file changes at any connection; the origin respects If-Range, or it doesn't."""
        chance = random.Random(seed)
        versions = [chance.randbytes(chance.choice([MIB, MIB, MIB + 1])) for _ in range(3)]
        current = 0

        def serve(peer: Peer) -> None:
            nonlocal current
            request = peer.origin.requests[-1]
            if chance.random() < 0.3:
                current = min(current + 1, 2)
            tags = (f'ETag: "v{current}"', RANGES)
            wanted = header(request, "Range")
            is_same = header(request, "If-Range") == f'"v{current}"' or chance.random() < 0.5
            answer = reply(versions[current], *tags)
            if wanted and is_same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                answer = part(versions[current], start, *tags)
            peer.send(answer[: chance.choice([len(answer), chance.randrange(len(answer))])])

        origin = originate([serve])
        with suppress(FetchError):
            assert fetch(origin.base).md5 in map(md5, versions)


class TestNoResume:
    @pytest.mark.parametrize(
        "headers",
        [
            (),
            ('ETag: "v1"',),
            ('ETag: W/"v1"', RANGES),
            ("ETag: v1", RANGES),
            ('ETag: "v1", "v2"', RANGES),
            ('ETag: "v1"', "Accept-Ranges: none"),
            (*DATED, 'ETag: W/"v1"'),
            DATED[:2],
            (DATED[0], RANGES),
            ("Last-Modified: yesterday", *DATED[1:]),
            (DATED[0], DATED[0].replace("Last-Modified", "Date"), RANGES),
            (DATED[0].replace("2015", "2016"), *DATED[1:]),
            (DATED[0].replace(" GMT", "\r GMT"), *DATED[1:]),  # It could not be sent back.
        ],
    )
    def test_without_a_strong_validator(
        self, headers: Sequence[str], originate: Originate, fetch: Fetch
    ) -> None:
        origin = originate([reply(BODY, *headers)[:-1]])
        error = fetch.failure(origin.base)
        assert error.failure.code is FailureCode.INCOMPLETE_BODY
        assert not error.is_permanent
        assert origin.connections == 1

    def test_without_a_length(self, originate: Originate, fetch: Fetch) -> None:
        head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *STRONG, "", ""])
        origin = originate([head.encode() + b"5\r\nhello\r\n"])
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert origin.connections == 1

    def test_bad_framing_is_not_tried_again(self, originate: Originate, fetch: Fetch) -> None:
        file = BreakingFile(BODY, STRONG, [MIB])
        origin = originate([file], [b"nonsense\r\n"])
        assert fetch.code(origin.base) is FailureCode.PROTOCOL_ERROR
        assert origin.connections == 2


class TestNoProgress:
    @pytest.mark.parametrize("step", [0, 1, 1000])
    def test_ends_as_a_failure(self, step: int, originate: Originate, fetch: Fetch) -> None:
        """A byte a connection is no progress, or 4 MiB would cost four million connections."""
        breaks = [MIB + step * n for n in range(10)]
        origin = originate([BreakingFile(BODY, STRONG, breaks)])
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert origin.connections == 1 + 3

    def test_repeated_restarts_are_bounded(self, originate: Originate, fetch: Fetch) -> None:
        """An origin promises ranges, serves none, and breaks each time."""
        scripts = [[reply(BODY, *STRONG)[: MIB + 1000 * n]] for n in (5, 3, 6, 4, 7, 2, 8)]
        origin = originate(*scripts)
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert origin.connections == 1 + 2 * 3

    def test_origin_that_is_gone(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [reset])
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert origin.connections == 1 + 3


class TestPatience:
    """What is hashed already is not given up for an outage that is short compared to it."""

    @pytest.mark.usefixtures("large")
    @pytest.mark.parametrize("outage", [[reset], [reply(b"", status="503 Busy")], [stall]])
    def test_large_file_outlasts_broken_answers(
        self, outage: Script, originate: Originate, fetch: Fetch, pauses: list[float]
    ) -> None:
        file = BreakingFile(BODY, STRONG, [4 * MIB - 1])
        origin = originate([file], *[outage] * 10, [file])
        assert fetch(origin.base, read_timeout=0.5).md5 == md5(BODY)
        assert pauses == OUTAGE

    @pytest.mark.usefixtures("large")
    @pytest.mark.parametrize("trouble", ["unknown host", "refused connection"])
    def test_large_file_outlasts_a_server_that_is_gone(
        self,
        trouble: str,
        originate: Originate,
        fetch: Fetch,
        pauses: list[float],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [4 * MIB - 1])])
        left = iter([False, *[True] * 10])
        with socket.socket() as bound:  # and not listening
            bound.bind(("127.0.0.1", 0))

            def look_up(*_args: object, **_kwargs: object) -> list[object]:
                port = origin.port
                if next(left, False):
                    if trouble == "unknown host":
                        raise socket.gaierror(socket.EAI_AGAIN, "no answer")
                    port = bound.getsockname()[1]
                return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            assert fetch("http://files.example").md5 == md5(BODY)
        assert pauses == OUTAGE

    @pytest.mark.usefixtures("large")
    def test_large_file_outlasts_slow_minutes(
        self, originate: Originate, fetch: Fetch, pauses: list[float]
    ) -> None:
        """A small file ends as `too_slow` at once. Here starting again would cost more."""
        start = reply(BODY, *STRONG)[:-5000]
        origin = originate([start, drip(BODY[-5000:], 0.01)], [BreakingFile(BODY, STRONG, [])])
        assert fetch(origin.base, min_speed=5000, min_speed_window=0.5).md5 == md5(BODY)
        assert pauses == [0]

    @pytest.mark.usefixtures("large")
    def test_origin_that_stays_slow(self, originate: Originate, fetch: Fetch) -> None:
        def go_on(peer: Peer) -> None:
            wanted = header(peer.origin.requests[-1], "Range")
            assert wanted is not None
            rest = part(BODY, int(wanted[6:-1]), *STRONG)
            peer.send(rest[:-4000])
            for start in range(len(rest) - 4000, len(rest)):
                if peer.origin.is_released.wait(0.01):
                    return
                peer.send(rest[start : start + 1])

        origin = originate([reply(BODY, *STRONG)[:-5000], reset], [go_on])
        limits = {"min_speed": 5000, "min_speed_window": 0.2}
        assert fetch.code(origin.base, **limits) is FailureCode.TOO_SLOW
        assert 3 < origin.connections < 12

    def test_small_file_is_given_up_soon(
        self, originate: Originate, fetch: Fetch, pauses: list[float]
    ) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [reset])
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert pauses == [0, 1, 3]

    @pytest.mark.parametrize("status", ["503 Busy", "429 Slow down"])
    @pytest.mark.parametrize("seconds", [5, 60])
    def test_origin_that_asks_for_a_pause_gets_it(
        self, status: str, seconds: int, originate: Originate, fetch: Fetch, pauses: list[float]
    ) -> None:
        file = BreakingFile(BODY, STRONG, [MIB])
        busy = reply(b"", f"Retry-After: {seconds}", status=status)
        origin = originate([file], [busy], [file])
        assert fetch(origin.base).md5 == md5(BODY)
        assert pauses == [0, seconds]
        assert [error.retry_after for error in fetch.breaks] == [None, seconds]

    def test_origin_that_asks_for_too_long_a_pause(
        self, originate: Originate, fetch: Fetch, pauses: list[float]
    ) -> None:
        """The attempt ends, and the next one comes when the origin wants it."""
        busy = reply(b"", "Retry-After: 61", status="503 Busy")
        origin = originate([BreakingFile(BODY, STRONG, [MIB])], [busy])
        error = fetch.failure(origin.base)
        assert (error.failure.http_status, error.retry_after) == (503, 61)
        assert pauses == [0]

    @pytest.mark.usefixtures("large")
    def test_origin_that_starts_again_each_time(self, originate: Originate, fetch: Fetch) -> None:
        """It promises ranges and serves none: patience would only multiply its traffic."""
        origin = originate([reply(BODY, *STRONG)[:-1]])
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        assert origin.connections == 1 + 2 * 4

    @pytest.mark.usefixtures("large")
    def test_deadline_holds(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([BreakingFile(BODY, STRONG, [4 * MIB - 1])], [stall])
        assert fetch.code(origin.base, deadline=1, read_timeout=0.3) is FailureCode.DEADLINE


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [
        (0, 0, 4),
        (4 * MIB, 1, 4),
        (MIB, 100, 100),
        (100 * MIB, 1, 100),
        (90 * 10**9, 3600, 1800),
        (0, 10**6, 1800),
    ],
)
def test_longer_downloads_are_resumed_more_patiently(
    size: int, seconds: float, expected: float
) -> None:
    assert patience(size, seconds) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (4, [0, 1, 3]),
        (5, [0, 1, 3, 1]),
        (40, [0, 1, 3, 9, 27]),
        (200, [0, 1, 3, 9, 27, 60, 60, 40]),
    ],
)
def test_pauses_grow_up_to_a_minute(limit: float, expected: list[float]) -> None:
    pauses: list[float] = []
    while (pause := next_pause(len(pauses), limit - sum(pauses))) is not None:
        pauses.append(pause)
    assert pauses == expected


@pytest.mark.parametrize(
    ("tries", "left", "retry_after", "expected"),
    [
        (0, 4, 0, 0),
        (0, 4, 60, 60),
        (0, 4, 61, None),
        (5, 1000, 5, 60),
        (5, 1000, 900, 900),
        (5, 1000, 1001, None),
        (5, 0, 1, None),
    ],
)
def test_pause_that_the_origin_asks_for(
    tries: int, left: float, retry_after: float, expected: float | None
) -> None:
    assert next_pause(tries, left, retry_after) == expected


def test_every_connection_is_checked(originate: Originate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name leads to a private address by the time of the third connection."""
    origin = originate([BreakingFile(BODY, STRONG, [MIB, 2 * MIB, 3 * MIB])])
    answers = iter(["127.0.0.1", "127.0.0.1", "10.0.0.1"])

    def look_up(*_args: object, **_kwargs: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(answers), origin.port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    fetch = Fetch(Transport(Guard(allow=LOOPBACK)))
    assert fetch.code("http://files.example") is FailureCode.BLOCKED_ADDRESS
    assert origin.connections == 2
    fetch.transport.close()
