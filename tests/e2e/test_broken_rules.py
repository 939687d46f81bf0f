"""A refusal lists every parameter that breaks a rule, so that one correction is enough."""

from typing import Any

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.system import Service

URL = "http://192.0.2.1/file"


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    return open_system.start_service(SUBMITS_PER_MINUTE="0")


def refuse(service: Service, path: str = "submit", **request: Any) -> dict[str, Any]:
    method = "GET" if path == "export" else "POST"
    answer = requests.request(method, f"{service.base}/{path}", timeout=10, **request)
    assert answer.status_code == requests.codes.bad_request, answer.text
    body: dict[str, Any] = answer.json()
    return body


def fields(body: dict[str, Any]) -> list[str]:
    return [each["field"] for each in body["errors"]]


def test_every_invalid_field_is_listed(service: Service) -> None:
    order = {"url": "ftp://a.b/", "email": "x", "digests": "crc", "md5": "1", "sha512": "2"}
    body = refuse(service, data=order)
    assert fields(body) == ["url", "email", "digests", "md5", "sha512"]
    assert body["error"] == body["errors"][0]
    for each in body["errors"]:
        assert each["code"] == "invalid_parameter"
        assert each["message"] == f"{each['field']} {each['rule']}"
    assert refuse(service, json=order) == body
    assert refuse(service, params=order) == body
    assert refuse(service, files={k: (None, v) for k, v in order.items()}) == body


@pytest.mark.parametrize(
    ("order", "listed"),
    [
        ({"email": "x"}, ["url", "email"]),
        ({"urls": "x", "email": "x", "digests": "x"}, ["urls", "email", "digests"]),
        ({"urls": URL, "url": URL, "md5": "1"}, ["url", "md5"]),
        ({"urls": "x", "url": URL, "email": "x"}, ["url", "urls", "email"]),
        ({"url": "x", "b": "1", "c": "2", "email": "x"}, ["b", "c", "url", "email"]),
        ({"url": 7, "email": ["x"], "md5": "x"}, ["url", "email", "md5"]),
        ({"urls": [7], "email": "x"}, ["urls", "email"]),
    ],
)
def test_each_field_is_listed_once(
    service: Service, order: dict[str, object], listed: list[str]
) -> None:
    assert fields(refuse(service, json=order)) == listed


def test_repeated_fields_and_a_malformed_key_are_listed(service: Service) -> None:
    form = "email=x&email=y&md5=1&md5=2"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Idempotency-Key": "ä"}
    body = refuse(service, data=form, headers={k: v.encode() for k, v in headers.items()})
    assert [(each["field"], each["code"]) for each in body["errors"]] == [
        ("email", "repeated_parameter"),
        ("md5", "repeated_parameter"),
        ("url", "missing_parameter"),
        ("Idempotency-Key", "invalid_parameter"),
    ]


def test_every_invalid_parameter_of_an_export_is_listed(service: Service) -> None:
    query = {"format": "md5sum", "digest": "crc", "names": "none"}
    assert fields(refuse(service, "export", params=query)) == ["digest", "names", "id"]
    query = {"format": "xml", "digest": "md5", "more": "x"}
    assert fields(refuse(service, "export", params=query)) == ["more", "format", "digest", "id"]


def test_a_thousand_unknown_names_have_a_short_answer(service: Service) -> None:
    body = refuse(service, json={f"name{number}": "" for number in range(1000)})
    assert fields(body) == [f"name{number}" for number in range(20)]


def test_one_broken_rule_is_one_error(service: Service) -> None:
    assert refuse(service, data={"url": "x"}).keys() == {"error"}
    assert refuse(service, "export").keys() == {"error"}
