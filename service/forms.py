"""Forms, URL-encoded and multipart, read while they arrive."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from service.fields import (
    LIST,
    MAX_FIELDS,
    MAX_NAME_LENGTH,
    UNDECODABLE,
    Fields,
    Text,
    not_a_string,
    refuse_body,
)
from service.lines import LineReader

MAX_PART_HEADERS = 8  # RFC 7578 § 4 allows three
MAX_NAME_BYTES = 12 * MAX_NAME_LENGTH  # a character may be four escaped bytes


class _TextDecoder:
    """Decodes the bytes of a field."""

    def __init__(self, value: Text | LineReader) -> None:
        self._value = value
        self._decoder = codecs.getincrementaldecoder("utf-8")(UNDECODABLE)

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        if text := self._decoder.decode(data, is_last):
            self._value.feed(text)


class FormParser:
    """Reads application/x-www-form-urlencoded as `urllib.parse.parse_qsl` does."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._count = 1
        self._name = b""  # as far as it has arrived
        self._value: _TextDecoder | None = None  # None: still in the name
        self._escape = b""  # an incomplete one

    def feed(self, data: bytes) -> None:
        *ended, last = data.split(b"&", MAX_FIELDS)
        for each in ended:
            self._feed_field(each)
            self.close()
            self._count += 1
            if self._count > MAX_FIELDS:
                self._fields.refuse_number()
        self._feed_field(last)

    def close(self) -> None:
        """End the field that has begun, if there is one."""
        if self._value is not None:
            self._value.feed(_unquote(self._escape), is_last=True)
        elif self._name:
            self._add()
        self._name, self._value, self._escape = b"", None, b""

    def _feed_field(self, data: bytes) -> None:
        if self._value is None:
            name, equals, data = data.partition(b"=")
            self._name += name[: MAX_NAME_BYTES - len(self._name)]
            if not equals:
                return
            self._value = _TextDecoder(self._add())
        data = self._escape + data
        begin = data.find(b"%", max(len(data) - 2, 0))
        end = len(data) if begin < 0 else begin
        self._value.feed(_unquote(data[:end]))
        self._escape = data[end:]

    def _add(self) -> Text | LineReader:
        return self._fields.add(_unquote(self._name).decode(errors=UNDECODABLE))


def _unquote(data: bytes) -> bytes:
    return unquote_to_bytes(data.replace(b"+", b" "))


class MultipartParser:
    """Reads multipart/form-data, RFC 7578. A file is not a string, unless it is the list.

    Sanic's own parser logs a trace for what it cannot read, takes that for an empty form, and
    decodes by the charset that a part names, for some of them in quadratic time.
    """

    def __init__(self, fields: Fields, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get("boundary")
        if not boundary:
            refuse_body("The Content-Type of a multipart body must have a boundary.")
        self._fields = fields
        self._value: _TextDecoder | None = None  # of the part that has begun, if it has a text
        with _refused_errors():
            self._parser = PushMultipartParser(
                boundary.encode(errors=UNDECODABLE),
                max_header_count=MAX_PART_HEADERS,
                max_segment_count=MAX_FIELDS,
                header_charset="latin-1",  # the name of a file may have any encoding
            )

    def feed(self, data: bytes) -> None:
        with _refused_errors():
            for event in self._parser.parse(data):
                self._take(event)

    def close(self) -> None:
        with _refused_errors():
            self._parser.close()

    def _take(self, event: MultipartSegment | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            if not event.name:
                refuse_body("Each part of a multipart body must have a name.")
            name = event.name.encode("latin-1").decode(errors=UNDECODABLE)
            value = self._fields.add(name)
            if event.filename is None or name == LIST:
                self._value = _TextDecoder(value)
            else:
                value.fail(not_a_string(name))
        elif self._value is not None:
            self._value.feed(bytes(event or b""), is_last=event is None)
            if event is None:
                self._value = None


@contextmanager
def _refused_errors() -> Iterator[None]:
    """Raises BadRequestError for what is not multipart/form-data."""
    try:
        yield
    except (MultipartError, UnicodeError) as error:
        refuse_body(
            f"The body is not valid multipart/form-data of up to {MAX_FIELDS} fields: {error}."
        )
