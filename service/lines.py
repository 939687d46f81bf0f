"""The lines of a list of URLs: what each of them asks for."""

import base64
import binascii
import re
from dataclasses import dataclass

from service.errors import AS_A_FILE, BadRequestError
from tasks.digests import NOTHING_EXPECTED, Algorithm, Expected
from tasks.errors import InvalidURLError
from tasks.url import parse_url

# The first line of a list for Google's Storage Transfer Service.
STS_HEADING = "TsvHttpData-1.0"
MAX_SIZE = 2**63 - 1
MAX_LINE_LENGTH = 16 * 1024  # more than the longest URL with a digest
_BOM = "\ufeff"
# By their length; of two with the same length the first row.
_ALGORITHMS = {each.hex_digits: each for each in reversed(Algorithm)}
# A line of md5sum, sha256sum and so on: two spaces, or a space and the mark of a binary file.
_SUM = re.compile(r"([0-9a-fA-F]+) [ *](.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A URL of a list, and what is expected of it."""

    url: str
    expected: Expected


class _InvalidLineError(Exception):
    """Raised when a line breaks a rule, which the message names."""


class LineReader:
    """Reads a list of URLs while it arrives, and keeps nothing but its entries.

    Blank lines, comments, a byte order mark and the heading of a Storage Transfer Service list are
    skipped.
    """

    def __init__(self, most: int | None = None) -> None:
        """Read `most` entries. The others are only counted, which takes far less time."""
        self.count = 0  # entries, read or not
        self.is_empty = True  # not even a blank line
        self._most = most
        self._entries: list[Entry] = []
        self._line_number = 0
        self._unfinished_line = ""
        self._error: BadRequestError | None = None
        self._first_invalid, self._further = "", 0

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self.is_empty = self.is_empty and not text
        begin = 0
        while (end := text.find("\n", begin)) >= 0:
            self._keep(text[begin:end])
            self._end_line()
            begin = end + 1
        self._keep(text[begin:])

    def fail(self, error: BadRequestError) -> None:
        """Note that the list cannot be read."""
        self.is_empty = False
        self._error = error

    def entries(self) -> list[Entry]:
        """Return the entries that were read, in the order of the list, which ends here.

        Raises BadRequestError, which names the first invalid line, and counts the others among
        those that were read.
        """
        if self._unfinished_line:
            self._end_line()
        if self._error is not None:
            raise self._error
        if self._first_invalid:
            message = self._first_invalid + _counted(self._further)
            raise BadRequestError("invalid_parameter", message, "urls")
        if not self.count:
            raise BadRequestError.of_field(
                "invalid_parameter", "urls", "must have at least one URL"
            )
        return self._entries

    def _keep(self, text: str) -> None:
        """Keep a piece of a line, up to one character more than is allowed."""
        self._unfinished_line += text[: MAX_LINE_LENGTH + 1 - len(self._unfinished_line)]

    def _end_line(self) -> None:
        line, self._unfinished_line = self._unfinished_line, ""
        is_truncated = len(line) > MAX_LINE_LENGTH
        if not is_truncated:
            line = line.removesuffix("\r")
        self._line_number += 1
        if self._line_number == 1:
            line = line.removeprefix(_BOM)
            if line == STS_HEADING:
                return
        if (line.strip() or is_truncated) and not line.startswith("#"):
            self.count += 1
            if self._most is None or self.count <= self._most:
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            self._entries.append(_read_line(line))
        except _InvalidLineError as error:
            self._further += bool(self._first_invalid)
            self._first_invalid = self._first_invalid or f"Line {self._line_number}: {error}."


def _counted(further: int) -> str:
    if not further:
        return ""
    return f" {further} more line{' is' if further == 1 else 's are'} invalid."


def _read_line(line: str) -> Entry:
    if len(line) > MAX_LINE_LENGTH:
        raise _InvalidLineError(f"a line must have at most {MAX_LINE_LENGTH:,} characters")
    if line.startswith("@"):  # curl has not read it, as with `-d urls=@file`
        raise _InvalidLineError(f"{line[:100]} looks like a file name. {AS_A_FILE}")
    if "\t" in line:
        return _read_sts(line)
    if match := _SUM.fullmatch(line):
        algorithm = _ALGORITHMS.get(len(match[1]))
        if algorithm is None:
            raise _InvalidLineError("a digest must have 32, 40, 64 or 128 hexadecimal digits")
        return Entry(_read_url(match[2]), Expected({algorithm: match[1].lower()}))
    return Entry(_read_url(line), NOTHING_EXPECTED)


def _read_sts(line: str) -> Entry:
    """Read the URL, the size in bytes and the base64 of the MD5, separated by tabs."""
    fields = line.split("\t")
    if len(fields) != 3:  # noqa: PLR2004
        raise _InvalidLineError("a line with tabs must have a URL, a size and an MD5 in base64")
    url, size, md5 = fields
    if not re.fullmatch(r"[0-9]{1,19}", size, re.ASCII) or int(size) > MAX_SIZE:
        raise _InvalidLineError("the size must be a number of bytes")
    try:
        digest = base64.b64decode(md5, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:  # noqa: PLR2004
        raise _InvalidLineError("the MD5 must be the base64 of 16 bytes")
    return Entry(_read_url(url), Expected({Algorithm.MD5: digest.hex()}, int(size)))


def _read_url(text: str) -> str:
    try:
        return parse_url(text.strip(" "))
    except InvalidURLError as error:
        raise _InvalidLineError(f"url {str(error).removesuffix('.')}") from None
