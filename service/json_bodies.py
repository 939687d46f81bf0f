"""JSON, read while it arrives."""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import ijson

from service.errors import BadRequestError
from service.fields import LIST, MAX_FIELDS, MAX_NAME_LENGTH, Fields, not_a_string, refuse_body
from service.lines import LineReader

MAX_ITEMS = 400_000  # of a list: more than the shortest URLs that fit into a body
MAX_SKIPPED = 1000  # events in a value that is not a string

# Matches up to the last string that has ended, and what follows it.
_STRINGS = re.compile(rb'.*"[ \t\r\n]*[,:\]}]', re.DOTALL)
_BOM = b"\xef\xbb\xbf"
# The other backends of ijson replace lone surrogates, which would be another URL.
_BACKEND = ijson.get_backend("python")


class JSONParser:
    """Reads a JSON object of strings. The list may also be a list of strings.

    A string is kept until its end has come. ijson would also keep everything before an incomplete
    string, and as text, so the pieces that it gets end behind a string if possible.
    """

    def __init__(self, fields: Fields) -> None:
        reader = _read_object(fields)
        next(reader)
        self._events = _BACKEND.basic_parse_coro(reader)
        self._begin: bytes | None = b""  # as long as it may be the beginning of a BOM
        self._rest = b""  # with the beginning of a string
        self._is_over = False

    def feed(self, data: bytes) -> None:
        if self._begin is not None:
            data = self._begin + data
            self._begin = data if _BOM.startswith(data) else None
            data = b"" if self._begin else data.removeprefix(_BOM)
        strings = _STRINGS.match(data)
        end = strings.end() if strings else 0
        is_in_string = b'"' in data[end:] or (bool(self._rest) and not strings)
        if not is_in_string:
            end = len(data)
        if end:
            self._send(self._rest + data[:end])
            self._rest = b""
        self._rest += data[end:]

    def close(self) -> None:
        rest, self._rest = self._rest, b""
        self._send(rest)
        with self._refused_errors():
            if not self._is_over:
                self._events.close()

    def _send(self, data: bytes) -> None:
        with self._refused_errors():
            if data and not self._is_over:
                self._events.send(data)

    @contextmanager
    def _refused_errors(self) -> Iterator[None]:
        """Raises BadRequestError for what is not JSON."""
        try:
            yield
        except _EnoughError:
            self._is_over = True
        except (ijson.JSONError, ValueError):
            refuse_body("The body is not valid JSON.")


class _EnoughError(Exception):
    """Raised when the rest need not be read, as the request is refused anyway."""


_Events = Generator[None, tuple[str, Any], None]  # takes the events of a JSON document


def _read_object(fields: Fields) -> _Events:
    event, _ = yield
    if event != "start_map":
        refuse_body("The body must be a JSON object.")
    event, name = yield
    while event == "map_key":
        if len(fields.all) == MAX_FIELDS:  # a name is repeated, or not that of a parameter
            raise _EnoughError
        name = name[:MAX_NAME_LENGTH]
        value = fields.add(name)
        event, text = yield
        if event == "string":
            value.feed(text)
        elif event == "start_array" and isinstance(value, LineReader):
            yield from _read_items(value)
        else:
            error = not_a_string(name)
            value.fail(error)
            yield from _skip(int(event.startswith("start_")), error)
        event, name = yield
    yield  # at the end of the object


def _read_items(lines: LineReader) -> _Events:
    number = 0
    event, item = yield
    while event != "end_array":
        number += 1
        if event != "string" or "\n" in item:
            message = f"Item {number} of {LIST} must be a string of one line."
            error = BadRequestError("invalid_parameter", message, LIST)
            lines.fail(error)
            return (yield from _skip(1 + event.startswith("start_"), error))
        if number > MAX_ITEMS:
            rule = f"must not have more than {MAX_ITEMS:,} items"
            raise BadRequestError.of_field("invalid_parameter", LIST, rule)
        lines.feed(f"{item}\n")
        event, item = yield


def _skip(depth: int, error: BadRequestError) -> _Events:
    """Skip what is left of lists and objects, of which `depth` are open.

    Raises the error if that is too much.
    """
    for _ in range(MAX_SKIPPED):
        if not depth:
            return
        event, _ = yield
        depth += event.startswith("start_") - event.startswith("end_")
    raise error
