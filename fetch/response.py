"""HTTP/1.1 responses read by the rules of RFC 9112, where http.client guesses.

http.client takes the end of the connection for the end of the headers, drops what follows a
header line without a colon, ignores a Content-Length that it can't read, returns a 103 as the
answer, and reads `-5` as the size of a chunk: each of them a wrong digest.
"""

import http.client
import re
import socket
from contextlib import suppress
from typing import Any, NoReturn

from fetch.errors import FetchError
from fetch.fields import FieldReader
from tasks.failure import FailureCode

# What curl allows: MAX_HTTP_RESP_HEADER_SIZE in its lib/http.h
MAX_HEADER_BYTES = 300 * 1024
MAX_TRAILER_BYTES = 64 * 1024
MAX_CHUNK_LINE_BYTES = 4096
MAX_INTERIM_RESPONSES = 20
# Framing may take this share of the body. A chunk of one byte needs five bytes of it.
MAX_FRAMING_SHARE = 16
FREE_FRAMING_BYTES = 64 * 1024  # are not counted

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\0\r]*))?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
# The end of a chunk and the size line of the next one, unless that line is long.
_NEXT_CHUNK = re.compile(rb"\r?\n([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]{0,100})?\r?\n")

_NO_BODY = (http.client.NO_CONTENT, http.client.NOT_MODIFIED)


class StrictResponse(http.client.HTTPResponse):
    """An http.client response that raises FetchError instead of guessing."""

    chunk_left: int | None  # None: at the first chunk
    has_begun = False  # with a valid status line
    _framing_bytes = 0  # chunk sizes, extensions and line ends so far
    _body_bytes = 0  # in chunks so far
    has_surplus = False  # behind the body, so the connection cannot be used again
    # Beside a Transfer-Encoding, curl ignores a length that others believe.
    _is_length_doubtful = False
    _may_be_buffered: bool  # what the socket has sent behind the last line

    def __init__(self, connection: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(connection, *args, **kwargs)
        self._connection = connection
        self._fields = FieldReader()

    @property
    def surplus_framing(self) -> int:
        """Return how many bytes the framing of the chunks has taken beyond what is free."""
        return max(0, self._framing_bytes - FREE_FRAMING_BYTES)

    @property
    def doubtful_fields(self) -> frozenset[str]:
        """Return the names of decisive fields that the headers spell in a malformed way."""
        return self._fields.doubtful

    def begin(self) -> None:
        """Read the status line and the headers, skipping interim responses (1xx but 101)."""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            self._read_status_line()
            headers = self._read_fields(MAX_HEADER_BYTES, "headers")
            if self.status >= http.client.OK or self.status == http.client.SWITCHING_PROTOCOLS:
                break
        else:
            _refuse("The server sent one interim response after another.")
        if _decisive_field(self.status) in self.doubtful_fields:
            _refuse("The server sent a malformed header on which the file depends.")
        self.headers = self.msg = headers
        self._frame()

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer, or a part of it, with what comes next of the body, whatever its framing.

        Returns the number of bytes; 0 when the body is complete. Raises FetchError for one that is
        cut short or badly chunked.
        """
        if self.fp is None:
            return 0
        if self.chunked and self.chunk_left == 0 and (size := self._take_whole_chunks(buffer)):
            return size
        left = self._bytes_left_in_chunk() if self.chunked else self.length
        if left == 0:
            self._finish()
            return 0
        size = self._receive_into(buffer[:left])
        if not size:
            if left is not None:
                _report_cut("the whole file was sent")
            self.close()
        elif self.chunked:
            self.chunk_left = (left or 0) - size
            self._body_bytes += size
        elif left is not None:
            self.length = left - size
        return size

    def _receive_into(self, buffer: memoryview) -> int:
        """Wait for the network at most once. Returns 0 at the end of the connection.

        What was buffered behind a line comes first, then the socket's bytes without a detour. A
        BufferedReader's own readinto1 would wait for more although it has some.
        """
        if not self._may_be_buffered:
            return self.fp.raw.readinto(buffer) or 0
        data = self.fp.peek()
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        self.fp.read(size)
        self._may_be_buffered = len(data) > size
        return size

    def _finish(self) -> None:
        """Close after the body; look without waiting for bytes that do not belong to it.

        If some are still in the socket, they are found before the next request.
        """
        if self._is_length_doubtful or (self._may_be_buffered and not self.will_close):
            timeout = self._connection.gettimeout()
            self._connection.settimeout(0)
            with suppress(OSError, FetchError):  # nothing there, or the next request will fail
                self.has_surplus = bool(self.fp.peek(1))
            self._connection.settimeout(timeout)
        self.close()
        if self.has_surplus and self._is_length_doubtful:
            _refuse("The server sent more than the stated length.")

    def _read_line(self, limit: int, what: str) -> bytes:
        self._may_be_buffered = True
        line: bytes = self.fp.readline(limit + 1)
        if len(line) > limit:
            _refuse(f"The server's {what} are too long.")
        if not line.endswith(b"\n"):
            _report_cut(f"its {what} were complete" if line else "it answered")
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def _read_status_line(self) -> None:
        line = self._read_line(MAX_HEADER_BYTES, "headers")
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            _refuse("The server's answer is not HTTP/1.1.")
        self.version = 10 + int(match[1])
        self.code = self.status = int(match[2])
        self.has_begun = True
        self.reason = (match[3] or b"").decode("latin-1").strip()

    def _read_fields(self, limit: int, what: str) -> http.client.HTTPMessage:
        """Read headers or trailers of at most `limit` bytes."""

        def read_line() -> bytes:
            nonlocal limit
            line = self._read_line(limit, what)
            limit -= len(line)
            return line

        return self._fields.read(read_line, what)

    def _frame(self) -> None:
        """Find out where the body ends, RFC 9112 § 6.3."""
        codings = self.headers.get_all("Transfer-Encoding", [])
        self.chunked = _is_chunked(codings)
        lengths = {
            length
            for header in self.headers.get_all("Content-Length", [])
            for length in _members(header)
        }
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            _refuse("The server stated an impossible length.")
        self.chunk_left = None
        self.length = None if self.chunked or not lengths else int(lengths.pop())
        self._is_length_doubtful = bool(codings) and self.length is not None
        if self.status in _NO_BODY:
            self.chunked, self.length = False, 0
        self.will_close = (
            self._check_close()  # type: ignore[attr-defined]
            or not (self.chunked or self.length is not None)
        )

    def _take_whole_chunks(self, buffer: memoryview) -> int:
        """Copy the chunks that are buffered to their end, and return the size of their content.

        Read one by one, chunks of one byte would occupy a core at 1.5 MB/s.
        """
        self._may_be_buffered = True
        data = self.fp.peek()
        content = bytearray()
        taken = 0
        while match := _NEXT_CHUNK.match(data, taken):
            begin = match.end()
            end = begin + int(match[1], 16)
            if begin == end or end > len(data) or len(content) + end - begin > len(buffer):
                break
            content += data[begin:end]
            taken = end
        self.fp.read(taken)
        buffer[: len(content)] = content
        self._body_bytes += len(content)
        self._count_framing(taken - len(content))
        return len(content)

    def _bytes_left_in_chunk(self) -> int:
        """Read on to the next chunk at the end of one; 0 at the end of the body."""
        if self.chunk_left:
            return self.chunk_left
        if self.chunk_left == 0 and self._read_chunk_line():
            _refuse("The server sent a chunk that is longer than stated.")
        match = _CHUNK_LINE.fullmatch(self._read_chunk_line())
        if match is None:
            _refuse("The server sent a chunk without a valid size.")
        self.chunk_left = int(match[1], 16)
        if self.chunk_left == 0:
            self._read_fields(MAX_TRAILER_BYTES, "trailers")
        return self.chunk_left

    def _read_chunk_line(self) -> bytes:
        self._may_be_buffered = True
        line: bytes = self.fp.readline(MAX_CHUNK_LINE_BYTES)
        if not line:
            _report_cut("the whole file was sent")
        if not line.endswith(b"\n") and len(line) == MAX_CHUNK_LINE_BYTES:
            _refuse("The server sent a chunk without a valid size.")
        self._count_framing(len(line))
        return line.removesuffix(b"\n").removesuffix(b"\r")

    def _count_framing(self, size: int) -> None:
        self._framing_bytes += size
        if self.surplus_framing > MAX_FRAMING_SHARE * self._body_bytes:
            _refuse("The server sent far more chunk framing than content.")


def _is_chunked(headers: list[str]) -> bool:
    """Whether a body is sent in chunks. Raises FetchError for other transfer codings.

    Some servers repeat the header although they encode once (curl#13461, envoy#11916).
    """
    lists = [[coding for coding in _members(header) if coding] for header in headers]
    codings = [coding for each in lists for coding in each]
    is_chunked = "chunked" in codings
    if (
        not {"chunked", "identity"}.issuperset(codings)
        or any(each.count("chunked") > 1 for each in lists)
        or (is_chunked and codings[-1] != "chunked")
    ):
        _refuse("The server used a transfer encoding that was not asked for.")
    return is_chunked


def _decisive_field(status: int) -> str | None:
    """Return the name of the field that decides what an answer of that status stands for."""
    if status == http.client.OK:
        return "content-range"
    return "location" if 300 <= status < 400 else None  # noqa: PLR2004


def _members(header: str) -> list[str]:
    """Return the members of a list, in lower case, without the white space of RFC 9110 § 5.6.3."""
    return [each.strip(" \t").lower() for each in header.split(",")]


def _refuse(message: str) -> NoReturn:
    raise FetchError(FailureCode.PROTOCOL_ERROR, message)


def _report_cut(what: str) -> NoReturn:
    raise FetchError(
        FailureCode.INCOMPLETE_BODY, f"The server closed the connection before {what}."
    )
