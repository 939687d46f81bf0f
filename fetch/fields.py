"""Header and trailer fields, RFC 9112 § 5: odd ones are skipped, doubtful framing is refused."""

import http.client
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from fetch.errors import FetchError
from tasks.failure import FailureCode

MAX_FIELD_LINES = 2000  # of all heads and the trailers of one answer

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 § 5.1
_LINE_ENDS = rb"\r\v\f\x1c-\x1e\x85"  # for str.splitlines; \n has ended the line
_NAME = re.compile(_TOKEN)
_LINE_END = re.compile(rb"[%b]" % _LINE_ENDS)
# A line that every parser reads alike, as nearly all are.
_PLAIN = re.compile(rb"(%b):([^\0%b]*)" % (_TOKEN, _LINE_ENDS))
_NOT_ALPHANUMERIC = re.compile(rb"[^0-9a-z]+")

_FRAMING = frozenset({"content-length", "transfer-encoding"})
# All fields that decide which bytes are hashed
_DECISIVE = _FRAMING | {"location", "content-range", "content-encoding", "etag", "last-modified"}
_NAMES = {name.replace("-", "").encode(): name for name in _DECISIVE}  # for names that are odd


class FieldReader:
    """Reads the fields of one answer, in as many sections as it has."""

    doubtful: frozenset[str] = frozenset()  # the decisive names in the latest section's odd lines

    def __init__(self) -> None:
        self._lines_left = MAX_FIELD_LINES

    def read(self, read_line: Callable[[], bytes], what: str) -> http.client.HTTPMessage:
        """Return the fields up to and with the blank line after them.

        `read_line` returns a line without its end. Lines whose name is not a token are skipped
        with their folded lines, since no standard field has such a name. Raises FetchError
        (`protocol_error`) for too many lines, a line without a colon, a NUL, a carriage return in
        a name, and for any spelling of a framing field that two parsers could read differently.
        """
        fields: list[tuple[bytes, bytearray]] = []
        doubtful: set[str] = set()
        is_skipped = True  # what is folded into the last line belongs to no field
        while line := read_line():
            self._lines_left -= 1
            if self._lines_left < 0:
                _refuse(f"The server's {what} have too many lines.")
            if plain := _PLAIN.fullmatch(line):
                is_skipped = False
                fields.append((plain[1], bytearray(plain[2].strip(b" \t"))))
                continue
            name, colon, value = line.partition(b":")
            is_folded = line[:1] in b" \t"
            # curl takes a carriage return at the beginning of a line for the end of the headers.
            if b"\0" in line or not (is_folded or (colon and b"\r" not in name)):
                _refuse(f"The server sent a malformed line in its {what}.")
            doubtful.update(_doubtful_names(line))
            if is_folded and fields and fields[-1][0].decode().lower() in _FRAMING:
                doubtful.update(_FRAMING)
            if doubtful & _FRAMING:
                _refuse("The server stated the length of the file in a malformed way.")
            if is_folded:
                if not is_skipped:
                    fields[-1][1].extend(b" " + line.strip(b" \t"))
                continue
            is_skipped = not _NAME.fullmatch(name)
            if not is_skipped:
                fields.append((name, bytearray(value.strip(b" \t"))))
        self.doubtful = frozenset(doubtful)
        return _message(fields)


def _message(fields: list[tuple[bytes, bytearray]]) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, text in fields:
        message[name.decode("ascii")] = text.decode("latin-1")
    return message


def _doubtful_names(line: bytes) -> Iterator[str]:
    """Yield the names of decisive fields that another parser may find in an oddly spelled line.

    Some parsers trim names, drop control characters, or do not unfold lines. Some end a line at a
    bare carriage return, as http.client does, or at other control characters.
    """
    name = line.partition(b":")[0]
    known = _decisive_name(name)
    if known and not _NAME.fullmatch(name):
        yield known
    for hidden in _LINE_END.split(line)[1:]:
        name, colon, _ = hidden.partition(b":")
        known = _decisive_name(name)
        if known and colon:
            yield known


def _decisive_name(name: bytes) -> str | None:
    """Return the decisive field of a name, however odd.

    A token names that very field: many servers send a ContentLength or Content_Length that curl,
    wget and browsers ignore.
    """
    if _NAME.fullmatch(name):
        lowered = name.decode().lower()
        return lowered if lowered in _DECISIVE else None
    return _NAMES.get(_NOT_ALPHANUMERIC.sub(b"", name.lower()))


def _refuse(message: str) -> NoReturn:
    raise FetchError(FailureCode.PROTOCOL_ERROR, message)
