"""Damaged answers: the digest that a correct reader comes to, or one of our failures; no leak."""

import gc
import hashlib
import re
import subprocess
import threading
from contextlib import suppress
from datetime import UTC
from email.utils import format_datetime
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtools.servers.raw_origin import CHUNKED, RawOrigin, chunked, redirect, reply
from devtools.waiting import PATIENCE, wait_for
from fetch.download import download
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.transport import Transport
from tasks.digests import Digest
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LIMITS, LOOPBACK, Fetch

EXAMPLES = settings().max_examples  # of the profile: a few seconds in all, or minutes
pytestmark = pytest.mark.usefixtures("pauses")

BODY = bytes(range(256))
VALID = [
    reply(BODY),
    reply(BODY, 'ETag: "v1"', "Accept-Ranges: bytes", "Content-Type: text/plain; charset=utf-8"),
    CHUNKED + chunked(BODY[:16], BODY[16:]),
    CHUNKED + chunked(BODY)[:-2] + b"X-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
    b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + reply(BODY),
    redirect("/x"),
    reply(b"busy", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", status="503 Busy"),
]
# What frames an answer is worth more than random bytes.
FRAMING = [
    *[b"", b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"-", b"+", b";", b",", b"0", b"f" * 16],
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n folded",
    b"HTTP/1.1 100 Go\r\n\r\n",
    b"\r\nConnection: close",
    b"\r\nContent-Encoding: gzip",
    b"\r\nContent-Length: -1",
    b"\r\nContent-Length: 5",
    b"\r\nContent-Length: 999",
    b"\r\nContent-Type: ;;=",
    b"\r\nLocation: //",
    b"\r\nLocation: http://[",
    b"\r\nRetry-After: -1",
    b"\r\nSet-Cookie: a=b",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: gzip",
]
TOKENS = st.binary(min_size=1, max_size=8) | st.sampled_from(FRAMING)
ANSWERS = st.sampled_from(VALID)
OUR_CODES = set(FailureCode) - {
    FailureCode.WORKER_LOST,
    FailureCode.INTERNAL_ERROR,
    FailureCode.DEADLINE,
    FailureCode.TIMEOUT,
}


@st.composite
def damaged_answers(draw: st.DrawFn) -> bytes:
    """Bytes are put in, or written over others, at up to three places; or the end is cut off."""
    answer = draw(ANSWERS)
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(answer)))
        token = draw(TOKENS)
        written_over = draw(st.sampled_from([0, len(token)]))
        answer = answer[:position] + token + answer[position + written_over :]
    return answer[: draw(st.none() | st.integers(0, len(answer)))]


def read_correctly(answer: bytes) -> bytes | None:
    """The body by RFC 9112 § 6 and § 7.1, written without a thought of speed; None: there is none.

    It knows nothing of what is forbidden in a header, so it reads more than we do.
    """
    head, body = b"", answer
    while not head or (head[9:10] == b"1" and head[9:12] != b"101"):
        end = re.search(rb"\r?\n\r?\n", body)
        if end is None:
            return None
        head, body = body[: end.start()], body[end.end() :]
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", head)
    fields = re.findall(rb"\n([^\n:]+):[ \t]*([^\r\n]*)", unfolded)
    if any(
        name.lower() == b"transfer-encoding" and b"chunked" in value.lower()
        for name, value in fields
    ):
        return dechunk(body)
    lengths = {value for name, value in fields if name.lower() == b"content-length"}
    if not lengths:
        return body
    length = int(lengths.pop().split(b",")[0])
    return body[:length] if len(body) >= length else None


def dechunk(body: bytes) -> bytes | None:
    data = b""
    while match := re.match(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n", body):
        size = int(match[1], 16)
        if size == 0:
            return data
        chunk, body = body[match.end() :][:size], body[match.end() + size :]
        end = re.match(rb"\r?\n", body)
        if len(chunk) < size or end is None:
            return None
        data, body = data + chunk, body[end.end() :]
    return None


def open_sockets() -> set[str]:
    """Of this process; hypothesis opens files of its own meanwhile."""
    links = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            links.add(str(each.readlink()))
    return {link for link in links if link.startswith("socket:")}


class Damaged:
    """An origin whose every connection gets the answer of the example."""

    def __init__(self) -> None:
        self.answer = b""
        self.origin = RawOrigin([lambda peer: peer.send(self.answer)])
        self.transport = Transport(Guard(allow=LOOPBACK))

    def download(self, answer: bytes) -> Digest | FetchError:
        self.answer = answer
        try:
            return download(f"{self.origin.base}/file", self.transport, LIMITS)
        except FetchError as error:
            return error

    def stop(self) -> None:
        self.transport.close()
        self.origin.stop()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_damaged_answers_give_a_failure_or_the_right_digest() -> None:
    sockets, threads = open_sockets(), threading.active_count()
    damaged = Damaged()

    @settings(max_examples=8 * EXAMPLES)
    @given(damaged_answers())
    def check(answer: bytes) -> None:
        result = damaged.download(answer)
        if isinstance(result, FetchError):
            assert result.failure.code in OUR_CODES
        else:
            body = read_correctly(answer)
            assert body is not None
            assert (result.md5, result.size) == (hashlib.md5(body).hexdigest(), len(body))

    check()
    damaged.stop()
    wait_for(lambda: threading.active_count() <= threads)
    gc.collect()  # what nobody has closed by now is a ResourceWarning, and so an error
    wait_for(lambda: open_sockets() <= sockets)


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(VALID[:4]), st.data())
def test_every_cut_is_noticed(answer: bytes, data: st.DataObject) -> None:
    """Wherever an answer with a length or chunks ends too early."""
    with RawOrigin([answer[: data.draw(st.integers(0, len(answer) - 1))]]) as origin:
        transport = Transport(Guard(allow=LOOPBACK))
        fetch = Fetch(transport)
        assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY
        transport.close()


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=3000), st.lists(st.integers(1, 400), min_size=1), st.booleans())
def test_any_body_in_any_framing(body: bytes, sizes: list[int], is_in_pieces: bool) -> None:  # noqa: FBT001
    ends = [0, *accumulate(sizes), len(body)]
    chunks = [body[start:end] for start, end in pairwise(ends) if body[start:end]]
    for answer in (
        reply(body),
        CHUNKED + chunked(*chunks),
        b"HTTP/1.0 200 OK\r\n\r\n" + body,
    ):
        step = 97 if is_in_pieces else len(answer)
        with RawOrigin([answer[i : i + step] for i in range(0, len(answer), step)]) as origin:
            transport = Transport(Guard(allow=LOOPBACK))
            assert Fetch(transport)(origin.base).md5 == hashlib.md5(body).hexdigest()
            transport.close()


HEADER_NAMES = st.sampled_from(
    ["Retry-After", "Last-Modified", "Date", "ETag", "Accept-Ranges", "Location", "Content-Type",
     "Set-Cookie", "Content-Encoding", "Connection", "Content-Range", "Keep-Alive", "Server"]
)  # fmt: skip
HEADER_VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40),
    st.from_regex(
        r"(Mon|Tue)?,? ?[0-9]{1,5} (Jan|X) [0-9]{1,6} [0-9:]{0,9}( ?[+-]?[0-9]{0,14})?",
        fullmatch=True,
    ),
    st.datetimes(timezones=st.just(UTC)).map(lambda each: format_datetime(each, usegmt=True)),
    st.sampled_from(["bytes", '"v1"', "W/", "gzip", "keep-alive", "http://127.0.0.1:1/"]),
)


def test_any_header_values() -> None:
    """None of the headers that we or the libraries read can break a download in another way.

    A 200 with a Content-Range may be a part of the file, and is refused.
    """
    damaged = Damaged()

    @settings(max_examples=3 * EXAMPLES)
    @given(
        st.sampled_from(["200 OK", "302 Found", "429 Slow", "503 Busy"]),
        st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=5),
    )
    def check(status: str, headers: list[tuple[str, str]]) -> None:
        lines = [f"{name}: {value}" for name, value in headers]
        result = damaged.download(reply(BODY, *lines, status=status))
        if isinstance(result, Digest):
            assert status == "200 OK"
            assert result.md5 == hashlib.md5(BODY).hexdigest()
        else:
            assert status != "200 OK" or "Content-Range" in dict(headers)
            assert result.failure.code in OUR_CODES

    check()
    damaged.stop()


ODD_NAMES = st.sampled_from(
    [b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Content-Range", b"X-A"]
)
ODD_VALUES = st.sampled_from(
    [b"5", b"12", b"5, 5", b"05", b"chunked", b"identity", b"chunked, identity", b"chunked;q=1",
     b"gzip", b"bytes 0-4/5", b"close", b""]
)  # fmt: skip
ODD_BYTES = st.sampled_from(
    [b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b"\v", b"\f", b"\0", b"\x1c", b"\x7f", b"\x85",
     b"\xa0", b"\xe2\x80\x83", b"_", b"-", b":", b";", b",", b'"', b"="]
)  # fmt: skip


@st.composite
def odd_heads(draw: st.DrawFn) -> bytes:
    """Up to three headers, with odd bytes put in at up to two places of each."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    for _ in range(draw(st.integers(1, 3))):
        line = draw(ODD_NAMES) + b": " + draw(ODD_VALUES)
        for _ in range(draw(st.integers(0, 2))):
            position = draw(st.integers(0, len(line)))
            line = line[:position] + draw(ODD_BYTES) + line[position:]
        head += line + b"\r\n"
    return head + b"\r\n"


def test_odd_heads_with_curl(curl: str) -> None:
    """Whatever the headers: if we give a digest, curl takes that very body, or fails."""
    damaged = Damaged()
    url = f"{damaged.origin.base}/file"

    @settings(max_examples=2 * EXAMPLES)
    @given(odd_heads(), st.sampled_from([b"hello", b"hello world!", chunked(b"he", b"llo"), b""]))
    def check(head: bytes, body: bytes) -> None:
        result = damaged.download(head + body)
        if isinstance(result, FetchError):
            assert result.failure.code in OUR_CODES
            return
        command = [curl, "-sf", "--max-time", str(PATIENCE), url]
        run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        assert run.returncode or result.md5 == hashlib.md5(run.stdout).hexdigest()

    check()
    damaged.stop()
