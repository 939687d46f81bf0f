"""Nothing that an origin sends costs more than linear time, or more than a little memory."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from devtools.servers.raw_origin import CHUNKED, RawOrigin, Script, redirect, reply
from fetch.errors import FetchError
from tests.growth import assert_linear
from tests.unit.fetch.fetching import Fetch

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

HEADERS = {
    "any header": b"X-Any: %b",
    "name": b"%b: x",
    "name in a valid one": b"X-%b: x",
    "Set-Cookie": b"Set-Cookie: a=%b",
    "Set-Cookie2": b"Set-Cookie: a=b\r\nSet-Cookie2: %b",
    "cookie's date": b"Set-Cookie: a=b; Expires=%b",
    "Content-Length": b"Content-Length: %b",
    "Transfer-Encoding": b"Transfer-Encoding: %b",
    "Content-Encoding": b"Content-Encoding: %b",
    "Content-Type": b"Content-Type: text/plain; a=%b",
    "Content-Range": b"Content-Range: %b",
    "range": b"Content-Range: bytes %b",
    "end of a range": b"Content-Range: bytes 0-0/%b",
    "Connection": b"Connection: %b",
    "Accept-Ranges": b"Accept-Ranges: %b",
    "Repr-Digest": b"Repr-Digest: %b",
    "digest of a Repr-Digest": b"Repr-Digest: md5=:%b",
    "Content-Digest": b"Content-Digest: %b",
    "Digest": b"Digest: %b",
    "Content-MD5": b"Content-MD5: %b",
    "x-goog-hash": b"x-goog-stored-content-encoding: identity\r\nx-goog-hash: %b",
    "ETag": b'Accept-Ranges: bytes\r\nETag: "%b"',
    "Last-Modified": b"Accept-Ranges: bytes\r\nLast-Modified: %b",
    "Date": b"Accept-Ranges: bytes\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nDate: %b",
    "date": b"Accept-Ranges: bytes\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 %b",
}
LISTS = {
    "lengths": (b"Content-Length: 0", b", 0"),
    "different lengths": (b"Content-Length: 0", b", 01"),
    "codings": (b"Transfer-Encoding: chunked", b", identity"),
    "empty codings": (b"Transfer-Encoding: chunked", b","),
    "connection options": (b"Connection: close", b", close"),
    "cookie attributes": (b"Set-Cookie: a=b", b"; Path=/"),
}
BODY = b"0123456789"


def fill(alphabet: bytes, size: int) -> bytes:
    return (alphabet * (size // len(alphabet) + 1))[:size]


def assert_answer_is_linear(
    make: Callable[[int], bytes],
    fetch: Fetch,
    largest: int = LARGEST,
    *,
    before: Script | None = None,
) -> None:
    """Assert that reading what `make(size)` returns takes linear time.

    `before` is what the first connection gets, if the answer is to the second one.
    """

    def work(size: int) -> None:
        scripts = [] if before is None else [before]
        with RawOrigin(*scripts, [make(size)]) as origin, suppress(FetchError):
            fetch(origin.base, max_redirects=1)

    assert_linear(work, largest=largest)


@pytest.mark.parametrize("alphabet", ALPHABETS)
class TestTime:
    @pytest.mark.parametrize("header", HEADERS)
    def test_header(self, header: str, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            line = HEADERS[header] % fill(ALPHABETS[alphabet], size)
            return b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 0\r\n\r\n" % line

        assert_answer_is_linear(make, fetch)

    def test_header_of_an_interim_response(self, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            value = fill(ALPHABETS[alphabet], size // 8)
            return b"HTTP/1.1 103 Early\r\nLink: %b\r\n\r\n" % value * 8 + reply(b"")

        assert_answer_is_linear(make, fetch)

    @pytest.mark.usefixtures("pauses")
    @pytest.mark.parametrize(
        "line", [b"Content-Range: bytes %b", b'ETag: "%b"', b"Last-Modified: %b", b"ETag : %b"]
    )
    def test_header_of_a_resume(self, line: bytes, alphabet: str, fetch: Fetch) -> None:
        def make(size: int) -> bytes:
            value = line % fill(ALPHABETS[alphabet], size)
            return reply(BODY[5:], value.decode("latin-1"), status="206 Partial Content")

        whole = reply(BODY, 'ETag: "v1"', "Accept-Ranges: bytes")
        assert_answer_is_linear(make, fetch, 128 * 1024, before=[whole[:-5]])

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


@pytest.mark.parametrize("name", LISTS)
def test_time_is_linear_in_the_length_of_a_list(name: str, fetch: Fetch) -> None:
    head, member = LISTS[name]
    assert_answer_is_linear(
        lambda size: (
            b"HTTP/1.1 200 OK\r\n%b\r\n\r\n0\r\n\r\n" % (head + member * (size // len(member)))
        ),
        fetch,
    )


@pytest.mark.parametrize("line", [b"a:\r\n", b"Set-Cookie: a=b\r\n", b"X Y: z\r\n", b" a\r\n"])
def test_time_is_linear_in_the_number_of_lines(line: bytes, fetch: Fetch) -> None:
    assert_answer_is_linear(
        lambda size: b"HTTP/1.1 200 OK\r\nX: y\r\n" + line * (size // len(line)) + b"\r\n",
        fetch,
    )


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;a=b\r\nx\r\n", b"0000000001\r\nx\r\n"])
def test_many_tiny_chunks(chunk: bytes, fetch: Fetch) -> None:
    assert_answer_is_linear(
        lambda size: CHUNKED + chunk * (size // len(chunk)) + b"0\r\n\r\n", fetch
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
