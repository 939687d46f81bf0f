"""The lines of a list of URLs: what each of them asks for."""

import base64
import binascii
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from service.errors import AS_A_FILE, BadRequestError
from tasks.digests import NOTHING_EXPECTED, Algorithm, Expected
from tasks.errors import InvalidURLError
from tasks.url import parse_url

# The first line of a list for Google's Storage Transfer Service.
STS_HEADING = "TsvHttpData-1.0"
MAX_SIZE = 2**63 - 1
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


def count_lines(text: str) -> int:
    """Return how many entries a list has, in far less time than it takes to read them."""
    return sum(1 for _ in _numbered(text))


def read_lines(text: str, most: int | None = None) -> list[Entry]:
    """Return the entries of a list, in its order, or the first `most`.

    Blank lines, comments, a byte order mark and the heading of a Storage Transfer Service list are
    skipped. Raises BadRequestError, which names the first invalid line, and counts the others
    among those that are read.
    """
    entries: list[Entry] = []
    first_error, further = "", 0
    for number, line in islice(_numbered(text), most):
        try:
            entries.append(_read_line(line))
        except _InvalidLineError as error:
            further += bool(first_error)
            first_error = first_error or f"Line {number}: {error}."
    if first_error:
        raise BadRequestError("invalid_parameter", first_error + _counted(further), "urls")
    if not entries:
        raise BadRequestError.of_field("invalid_parameter", "urls", "must have at least one URL")
    return entries


def _counted(further: int) -> str:
    if not further:
        return ""
    return f" {further} more line{' is' if further == 1 else 's are'} invalid."


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines that are to be read, with their numbers from 1."""
    lines = io.StringIO(text.removeprefix(_BOM), newline="\n")  # one after the other
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\n").removesuffix("\r")
        is_heading = number == 1 and line == STS_HEADING
        if line.strip() and not line.startswith("#") and not is_heading:
            yield number, line


def _read_line(line: str) -> Entry:
    if line.startswith("@"):  # curl has not read it, as with `-d urls=@file`
        raise _InvalidLineError(f"{line[:100]} looks like a file name. {AS_A_FILE}")
    if "\t" in line:
        return _read_sts(line)
    if match := _SUM.fullmatch(line):
        algorithm = _ALGORITHMS.get(len(match[1]))
        if algorithm is None:
            raise _InvalidLineError("a digest must have 32, 40, 64 or 128 hexadecimal digits")
        return Entry(_read_url(match[2]), Expected({algorithm: match[1].lower()}))
    return Entry(_read_url(line.strip(" ")), NOTHING_EXPECTED)


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
        return parse_url(text)
    except InvalidURLError as error:
        raise _InvalidLineError(f"url {str(error).removesuffix('.')}") from None
