"""Nothing that an origin sends costs more than linear time, or more than a little memory."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from actors.fetch.errors import FetchError
from tests.growth import assert_linear
from tests.unit.fetch.conftest import Fetch
from tests.unit.fetch.origin import CHUNKED, RawOrigin, redirect

LARGEST = 256 * 1024

# The alphabets that are worst for one parser or another.
ALPHABETS = {
    "letters": b"a",
    "commas": b"a,",
    "semicolons": b"a=b;",
    "spaces": b" ",
    "tabs": b"\t",
    "slashes": b"/",
    "percent signs": b"%25",
    "brackets": b"[(",
    "quotes": b'"\\',
    "digits": b"1",
    "combining marks": "\u0301\u0316".encode(),
    "emoji": "\U0001f600".encode(),
    "dates": b"Mon, 01 Jan 2024 ",
}

HEADERS = (
    "X-Any",
    "Set-Cookie",
    "Set-Cookie2",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Encoding",
    "Content-Type",
    "Content-Range",
    "Connection",
    "ETag",
    "Last-Modified",
    "Accept-Ranges",
    "Date",
)


def fill(alphabet: bytes, size: int) -> bytes:
    return (alphabet * (size // len(alphabet) + 1))[:size]


def assert_answer_is_linear(
    make: Callable[[int], bytes], fetch: Fetch, largest: int = LARGEST
) -> None:
    def work(size: int) -> None:
        with RawOrigin([make(size)]) as origin, suppress(FetchError):
            fetch(origin.base, max_redirects=1)

    assert_linear(work, largest=largest)


@pytest.mark.parametrize("alphabet", ALPHABETS)
class TestTime:
    @pytest.mark.parametrize("header", HEADERS)
    def test_header(self, header: str, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            value = fill(ALPHABETS[alphabet], size)
            return b"HTTP/1.1 200 OK\r\n%b: a=%b\r\nContent-Length: 0\r\n\r\n" % (
                header.encode(),
                value,
            )

        assert_answer_is_linear(make, fetch)

    def test_retry_after(self, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            value = fill(ALPHABETS[alphabet], size)
            return b"HTTP/1.1 503 Busy\r\nRetry-After: " + value + b"\r\n\r\n"

        assert_answer_is_linear(make, fetch)

    def test_location(self, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            return redirect("//" + fill(ALPHABETS[alphabet], size).decode("latin-1"))

        assert_answer_is_linear(make, fetch)

    @pytest.mark.parametrize("prefix", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n"])
    def test_first_lines(self, prefix: bytes, alphabet: str, fetch: Fetch) -> None:
        """A status line, a reason, and the name of a header."""
        assert_answer_is_linear(
            lambda size: prefix + fill(ALPHABETS[alphabet], size) + b": x\r\n\r\n",
            fetch,
        )

    def test_folded_lines(self, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            lines = b" %b\r\n" % fill(ALPHABETS[alphabet], 256) * (size // 256)
            return b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + lines + b"\r\n"

        assert_answer_is_linear(make, fetch)

    def test_chunk_line(self, alphabet: str, fetch: Fetch) -> None:
        assert_answer_is_linear(
            lambda size: CHUNKED + b"1;" + fill(ALPHABETS[alphabet], size) + b"\r\nx\r\n",
            fetch,
            largest=8192,
        )

    def test_trailer(self, alphabet: str, fetch: Fetch) -> None:
        assert_answer_is_linear(
            lambda size: CHUNKED + b"0\r\nX-A: " + fill(ALPHABETS[alphabet], size) + b"\r\n\r\n",
            fetch,
            largest=64 * 1024,
        )


@pytest.mark.parametrize("line", [b"a:\r\n", b"Set-Cookie: a=b\r\n", b"X Y: z\r\n", b" a\r\n"])
def test_many_lines(line: bytes, fetch: Fetch) -> None:
    assert_answer_is_linear(
        lambda size: b"HTTP/1.1 200 OK\r\nX: y\r\n" + line * (size // len(line)) + b"\r\n",
        fetch,
    )


def test_many_tiny_chunks(fetch: Fetch) -> None:
    assert_answer_is_linear(
        lambda size: CHUNKED + b"1\r\nx\r\n" * (size // 6) + b"0\r\n\r\n", fetch
    )


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 60_000,
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie2:" + b"a," * 140_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 16_000,
    ],
    ids=["lines", "Set-Cookie2", "cookies"],
)
def test_memory_stays_flat(head: bytes, fetch: Fetch) -> None:
    tracemalloc.start()
    try:
        with RawOrigin([head, b"\r\n"]) as origin, suppress(FetchError):
            fetch(origin.base)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20
