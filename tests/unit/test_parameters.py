"""Bodies of requests, as their formats allow them, and as they do not."""

import gc
import tracemalloc
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest

from service.broken_rules import BrokenRules
from service.errors import BadRequestError
from service.fields import MAX_FIELDS, Fields
from service.json_bodies import MAX_ITEMS
from service.lines import LineReader
from service.parameters import ParameterReader, Parameters, read_parameters
from tests.growth import assert_linear

URL = "http://example.com/a"
FORM_DATA = "multipart/form-data; boundary=limit"


def read(
    body: bytes, content_type: str = FORM_DATA, names: Collection[str] = ("url", "email")
) -> dict[str, str]:
    request = SimpleNamespace(query_string="", body=body, content_type=content_type)
    return read_parameters(cast("Any", request), names)


def part(header: str, value: str = URL, limit: str = "limit") -> bytes:
    return f"--{limit}\r\n{header}\r\n\r\n{value}\r\n".encode()


@pytest.mark.parametrize(
    "header",
    [
        'Content-Disposition: form-data; name="url"',
        "content-disposition:form-data;name=url",
        "Content-Disposition: form-data; name=url",
        'Content-Disposition: form-data; note="a"; name="url"',
        'Content-Disposition: form-data; note="a \\" b"; name="url"',
        'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="url"',
        'Content-Disposition: form-data; name="url"\r\nContent-Type: text/plain',
    ],
)
def test_field_is_read(header: str) -> None:
    assert read(part(header) + b"--limit--\r\n") == {"url": URL}


@pytest.mark.parametrize("boundary", ['boundary="a b"', "charset=utf-8; boundary=limit"])
def test_boundary_is_read(boundary: str) -> None:
    limit = "a b" if "a b" in boundary else "limit"
    body = part('Content-Disposition: form-data; name="url"', limit=limit)
    read_body = read(body + f"--{limit}--\r\n".encode(), f"multipart/form-data; {boundary}")
    assert read_body == {"url": URL}


FIELD = part('Content-Disposition: form-data; name="url"')


@pytest.mark.parametrize(
    "body",
    [
        b"before the first part\r\n" + FIELD + b"--limit--\r\n",  # RFC 2046, section 5.1.1
        FIELD + b"--limit--\r\nbehind the last part",
        part('Content-Disposition: form-data;\r\n name="url"') + b"--limit--\r\n",
    ],
)
def test_what_surrounds_the_parts_is_ignored(body: bytes) -> None:
    assert read(body) == {"url": URL}


def test_name_of_a_file_may_have_any_encoding() -> None:
    header = 'Content-Disposition: form-data; name="urls"; filename="é"'.encode("latin-1")
    body = b"--limit\r\n" + header + b"\r\n\r\n" + URL.encode() + b"\r\n--limit--\r\n"
    lines = read_pieces([body], FORM_DATA).lines
    assert lines is not None
    assert [entry.url for entry in lines.entries()] == [URL]


def test_name_of_a_part_is_utf8() -> None:
    body = part('Content-Disposition: form-data; name="é"') + b"--limit--\r\n"
    with pytest.raises(BadRequestError, match=r"^é is not a parameter"):
        read(body)


def test_entries_of_a_repeated_list_are_not_kept() -> None:
    """A body with many lists would take far more memory than one list."""
    fields = Fields(most_lines=10)
    lists = [fields.add("urls") for _ in range(3)]
    for each in lists:
        each.feed(f"{URL}\n{URL}\n")
    assert all(isinstance(each, LineReader) and each.count == 2 for each in lists)
    assert [len(each.entries()) for each in lists if isinstance(each, LineReader)] == [2, 0, 0]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FIELD + b"--limit--\r\n", "multipart/form-data"),
        (FIELD + b"--limit--\r\n", "multipart/form-data; boundary="),
        (FIELD + b"--limit--\r\n", "multipart/form-data; boundary=another"),
        (FIELD, FORM_DATA),
        (FIELD[:-9], FORM_DATA),
        (b"url=http://example.com/a", FORM_DATA),
        (part("Content-Type: text/plain") + b"--limit--\r\n", FORM_DATA),
        (part("Content-Disposition: form-data") + b"--limit--\r\n", FORM_DATA),
        (part('Content-Disposition: attachment; name="url"') + b"--limit--\r\n", FORM_DATA),
        (part("no header") + b"--limit--\r\n", FORM_DATA),
        (FIELD * (MAX_FIELDS + 1) + b"--limit--\r\n", FORM_DATA),
    ],
)
def test_malformed_body_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        read(body, content_type)
    assert refused.value.code == "invalid_body"


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PIECE_BYTES = 2**16


def read_pieces(pieces: Iterable[bytes], content_type: str) -> Parameters:
    """Read a submission that arrives in pieces."""
    request = SimpleNamespace(query_string="", content_type=content_type)
    with closing(ParameterReader(cast("Any", request), 10)) as reader, BrokenRules() as broken:
        for piece in pieces:
            reader.feed(piece)
        return reader.read(("url", "urls", "email"), broken)


def cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def read_in_pieces(body: bytes, size: int, content_type: str) -> object:
    """Return the texts and the entries of a list, or the error."""
    try:
        parameters = read_pieces(cut(body, size), content_type)
        lines = parameters.lines
        return parameters.texts, None if lines is None else lines.entries()
    except BadRequestError as error:
        return str(error)


LISTED = part('Content-Disposition: form-data; name="urls"; filename="a"', f"{URL}\r\n\r\n--lim")
BODIES = {
    "form": (FORM, f"url={URL}&email=a%40b.c&urls="),
    "escapes": (FORM, "url=%C3%A9%2&email=%%41+%4&urls=%"),
    "escaped names": (FORM, "%75rl=a&ema%69l"),
    "list as form": (FORM, f"urls=%23%0A{URL}%0D%0A{URL}"),
    "invalid list as form": (FORM, f"urls={URL}%0Anope%0A\n"),
    "list without a name": (FORM, f"{URL}\n{URL}"),
    "no text": (FORM, "url=%FF\x80"),
    "no fields": (FORM, "&&&"),
    "many fields": (FORM, "&" * MAX_FIELDS),
    "multipart": (FORM_DATA, f"{FIELD.decode()}{LISTED.decode()}--limit--\r\n"),
    "multipart with more behind it": (FORM_DATA, f"{FIELD.decode()}--limit--\r\n--limit\r\n"),
    "cut multipart": (FORM_DATA, f"{FIELD.decode()}--limit-"),
    "json": (JSON, f'\ufeff {{"url": "{URL}", "email": "\\u00e9\\ud83d\\ude00\\\\"}} '),
    "list as json": (JSON, f'{{"urls": ["{URL}", "", "# a \\" b"]}}'),
    "text as json": (JSON, f'{{"urls": "{URL}\\n{URL}"}}'),
    "repeated in json": (JSON, '{"url": "a", "url": "b"}'),
    "list of something else": (JSON, f'{{"urls": ["{URL}", "a\\nb", 1]}}'),
    "list of lists": (JSON, '{"urls": [[], {}]}'),
    "object of objects": (JSON, '{"url": {"url": []}, "url": "a"}'),
    "too many items": (JSON, '{"urls": [' + '"",' * (MAX_ITEMS + 1) + "1"),
    "too many brackets": (JSON, '{"url": "a", "urls": ' + "[" * 20_000),
    "array": (JSON, "[]"),
    "cut json": (JSON, '{"url": "a"'),
    "error behind a string": (JSON, '{"url": "a", "x" "y","z"}'),
    "urls of another type": (JSON, '{"url": "http://example.com/", "urls": 5}'),
    "too many values": (JSON, f'{{"url": "a", "email": [{"1," * 20_000}1]}}'),
    "many objects": (JSON, '{"urls": [' + '{"url": "http://a/"},' * 2000 + "{}]}"),
    "null in a long list": (JSON, '{"urls": [null, ' + '"http://a/",' * 2000 + '""]}'),
    "surplus json": (JSON, '{"url": "a"}}'),
    "lone surrogate": (JSON, '{"url": "http://example.com/\\ud800"}'),
    "not json": (JSON, '{"url": NaN}'),
    "another format": ("text/plain", URL),
}


@pytest.mark.parametrize("name", sorted(name for name in BODIES if "too many" not in name))
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_body_in_pieces_is_read_as_one(name: str, size: int) -> None:
    content_type, text = BODIES[name]
    body = text.encode()
    read_at_once = read_in_pieces(body, len(body), content_type)
    assert read_in_pieces(body, size, content_type) == read_at_once


@pytest.mark.parametrize(
    "text",
    [
        "url=%C3%A9%2&email=%%41+%4",
        "%75rl=a&ema%69l",
        "url=a=b&&email==",
        "url=%FF&email=%41%e9",
        "url",
        "url=%c3%a9",
        "url=%+",
        "url=a+%",
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_form_is_read_as_the_standard_library_reads_it(text: str, size: int) -> None:
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    assert read_in_pieces(text.encode(), size, FORM) == (dict(pairs), None)


@pytest.mark.parametrize("value", ["[1]", "5", "null", "{}", '{"a": [1, {}]}'])
def test_list_of_another_type_is_not_ignored(value: str) -> None:
    body = f'{{"url": "{URL}", "urls": {value}}}'.encode()
    assert "urls must be a string" in str(read_in_pieces(body, 7, JSON))
    lines = read_pieces([body], JSON).lines
    assert lines is not None
    assert not lines.is_empty


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("list of something else", "Item 2 of urls must be a string of one line."),
        ("list of lists", "Item 1 of urls must be a string of one line."),
        ("object of objects", "url must be given once, not 2 times."),
        ("too many items", "urls must not have more than 400,000 items."),
        ("too many brackets", "Item 1 of urls must be a string of one line."),
        ("too many values", "email must be a string."),
        ("many objects", "Item 1 of urls must be a string of one line."),
        ("null in a long list", "Item 1 of urls must be a string of one line."),
        ("error behind a string", "The body is not valid JSON."),
        ("urls of another type", "urls must be a string."),
        ("array", "The body must be a JSON object."),
        ("cut json", "The body is not valid JSON."),
        ("surplus json", "The body is not valid JSON."),
        ("not json", "The body is not valid JSON."),
        ("repeated in json", "url must be given once, not 2 times."),
        ("many fields", "A request must not have more than 100 fields."),
    ],
)
def test_invalid_body_is_refused(name: str, message: str) -> None:
    content_type, text = BODIES[name]
    assert read_in_pieces(text.encode(), len(text), content_type) == message


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", sorted(name for name in BODIES if "too many" not in name))
def test_body_whose_rest_does_not_come_leaves_no_trace(name: str) -> None:
    content_type, text = BODIES[name]
    request = SimpleNamespace(query_string="", content_type=content_type)
    with closing(ParameterReader(cast("Any", request))) as reader:
        reader.feed(text.encode()[: len(text) // 2])
    del reader
    gc.collect()


def test_strings_of_json_are_not_changed() -> None:
    read_json = read_in_pieces(BODIES["lone surrogate"][1].encode(), 7, JSON)
    assert read_json == ({"url": "http://example.com/\ud800"}, None)


@pytest.mark.parametrize(
    ("content_type", "begin", "repeated"),
    [
        (FORM, b"urls=", b"http://example.com/a%0A"),
        (FORM, b"url=", b"x"),
        (FORM, b"", b"x"),
        (FORM, b"", b"x" * 100_000 + b"&"),
        (FORM, b"urls=", b"x"),
        (FORM, b"urls=%23", b"x"),
        (FORM_DATA, LISTED, b"# comment\r\n"),
        (FORM_DATA, FIELD.removesuffix(b"\r\n"), b"x"),
        (JSON, b'{"urls":[', b'"http://example.com/a",'),
        (JSON, b'{"urls":[', b'"http://example.com/a" ,'),
        (JSON, b'{"urls":[', b"[],"),
        (JSON, b"[", b"["),
        (JSON, b"{", b'"x":"",'),
        (JSON, b'{"x":', b'{"x":'),
    ],
)
def test_memory_does_not_grow_with_the_body(
    content_type: str, begin: bytes, repeated: bytes
) -> None:
    def peak_of(pieces: int) -> int:
        body = begin + repeated * (pieces * PIECE_BYTES // len(repeated))
        tracemalloc.start()
        try:
            read_pieces(cut(body, PIECE_BYTES), content_type)
        except BadRequestError:
            pass  # most of them end in the middle
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return peak

    assert peak_of(6) < peak_of(3) + PIECE_BYTES


def test_file_is_refused() -> None:
    body = part('Content-Disposition: form-data; name="url"; filename="a.txt"') + b"--limit--\r\n"
    with pytest.raises(BadRequestError, match="url must be a string"):
        read(body)


@pytest.mark.parametrize(
    "repeated", [b"\r\n--limi", b"--limit\r\n", b"\r\n", b"a:b\r\n", b"--limit\r\n\r\n\r\n", b'"\\']
)
def test_work_grows_with_the_body(repeated: bytes) -> None:
    def work(size: int) -> None:
        with pytest.raises(BadRequestError):
            read((FIELD + repeated * size)[:size])

    assert_linear(work, largest=1 << 18)


class CountingNames(list[str]):
    looks = 0

    def __contains__(self, name: object) -> bool:
        self.looks += 1
        return super().__contains__(name)


@pytest.mark.parametrize("name", ["url", "name{}"])
def test_a_thousand_wrong_names_are_little_work(name: str) -> None:
    """The names of a JSON object have no limit."""
    text = ",".join(f'"{name.format(number)}":""' for number in range(1000))
    names = CountingNames(["url"])
    with pytest.raises(BadRequestError) as refused:
        read(f"{{{text}}}".encode(), "application/json", names)
    assert names.looks == 1 + len(refused.value.further) <= 20


def test_work_grows_with_the_content_type() -> None:
    def work(size: int) -> None:
        with pytest.raises(BadRequestError):
            read(FIELD, ("multipart/form-data" + ';a="\\' * size)[:size])

    assert_linear(work, largest=1 << 16)
