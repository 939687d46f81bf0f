"""Multipart bodies, as RFC 7578 allows them, and as it does not."""

import json
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.errors import BadRequestError
from service.parameters import MAX_BRACKETS, MAX_FIELDS, read_parameters
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


@pytest.mark.parametrize("item", ["[]", "{}", '{"a":[]}'])
def test_json_of_many_lists_is_refused_before_it_is_parsed(
    item: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f'{{"urls":[{",".join([item] * MAX_BRACKETS)}]}}'.encode()
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(BadRequestError, match="100,000 brackets"):
        read(body, "application/json")


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
