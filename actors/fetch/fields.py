"""Header and trailer fields, RFC 9112 § 5: odd ones are skipped, doubtful framing is refused."""

import http.client
import re
from collections.abc import Callable

from actors.fetch.errors import FetchError
from tasks.task import FailureCode

MAX_FIELD_LINES = 2000  # of all heads and the trailers of one answer

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 § 5.1
_FRAMING = (b"content-length", b"transfer-encoding")
_NOT_ALPHANUMERIC = re.compile(rb"[^0-9a-z]+")
_FRAMING_LETTERS = tuple(_NOT_ALPHANUMERIC.sub(b"", name) for name in _FRAMING)


class FieldReader:
    """Reads the fields of one answer, in as many sections as it has."""

    def __init__(self) -> None:
        self._lines_left = MAX_FIELD_LINES

    def read(self, read_line: Callable[[], bytes], what: str) -> http.client.HTTPMessage:
        """Return the fields up to and with the blank line after them.

        `read_line` returns a line without its end. Lines whose name is not a token are skipped
        with what is folded into them, because nobody needs such a field. Raises FetchError
        (`protocol_error`) for too many lines, a line without a colon, a NUL, and for any spelling
        of a framing field that two parsers could read differently.
        """
        fields: list[tuple[bytes, bytearray]] = []
        is_skipped = True  # what is folded into the last line belongs to no field
        while line := read_line():
            self._lines_left -= 1
            if self._lines_left < 0:
                _refuse(f"The server's {what} have too many lines.")
            name, colon, value = line.partition(b":")
            is_folded = line[:1] in b" \t"
            if b"\0" in line or not (colon or is_folded):
                _refuse(f"The server sent a malformed line in its {what}.")
            if _is_doubtful(name, fields, is_folded=is_folded):
                _refuse("The server stated the length of the file in a malformed way.")
            if is_folded:
                if not is_skipped:
                    fields[-1][1].extend(b" " + line.strip(b" \t"))
                continue
            is_skipped = not _NAME.fullmatch(name)
            if not is_skipped:
                fields.append((name, bytearray(value.strip(b" \t"))))
        message = http.client.HTTPMessage()
        for name, text in fields:
            message[name.decode("ascii")] = text.decode("latin-1")
        return message


def _is_doubtful(name: bytes, fields: list[tuple[bytes, bytearray]], *, is_folded: bool) -> bool:
    """Return whether a line touches the framing in a way that another parser may read otherwise.

    Some parsers trim names, drop control characters, read `_` as `-`, or do not unfold lines.
    """
    if is_folded and fields and fields[-1][0].lower() in _FRAMING:
        return True
    if name.lower() in _FRAMING:
        return False
    return _NOT_ALPHANUMERIC.sub(b"", name.lower()) in _FRAMING_LETTERS


def _refuse(message: str) -> None:
    raise FetchError(FailureCode.PROTOCOL_ERROR, message, is_permanent=True)
