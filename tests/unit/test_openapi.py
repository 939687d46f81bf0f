"""Whether what is written about the API is what the code says, word for word."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html import unescape
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from devtools.servers.process import PROJECT
from service import docs, page
from service.app import create_app
from service.docs.render import render
from service.errors import ErrorBody, ProblemBody
from service.health import ReadyBody
from service.idempotency import KEY
from service.manifests import CSV, NDJSON, STS, Manifest
from service.metrics import REFUSALS
from service.representation import (
    BatchBody,
    CountsBody,
    DoneBody,
    FailedBody,
    FailureBody,
    RunningBody,
)
from service.submission import PARAMETERS
from settings import Settings
from tasks.checksums import FORMATS
from tasks.digests import Algorithm, Digest
from tasks.failure import FailureCode
from tasks.step import MailStatus
from tasks.url import MAX_URL_BYTES
from tests.examples import STATES

DOCUMENT: dict[str, Any] = json.loads((docs.DIRECTORY / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
FAILURE_CODES = [code.value for code in FailureCode]


def test_document_lists_every_failure_code() -> None:
    assert [each["const"] for each in SCHEMAS["FailureCode"]["oneOf"]] == FAILURE_CODES


def error_codes(part: object) -> set[str]:
    """The codes that a part of the document lists, and those of what it refers to."""
    text = json.dumps(part)
    for name in re.findall(r"#/components/responses/(\w+)", text):
        text += json.dumps(DOCUMENT["components"]["responses"][name])
    enums = re.findall(r'"code": \{"enum": (\[[^]]+\])', text)
    return {code for enum in enums for code in json.loads(enum)}


def test_every_refusal_of_a_submission_is_counted_from_the_start() -> None:
    before_the_request = {"too_many_connections"}
    codes = error_codes(DOCUMENT["paths"]["/submit"]["post"]) - before_the_request
    assert {"rate_limited", "invalid_parameter", "store_unavailable"} <= codes <= set(REFUSALS)


def test_every_error_code_is_explained() -> None:
    codes = error_codes(DOCUMENT)
    assert len(codes) > 10
    assert codes <= set(re.findall(r"<code>([a-z_]+)</code>", render(DOCUMENT)))
    assert codes <= set(re.findall(r"`([a-z_]+)`", (PROJECT / "docs" / "errors.md").read_text()))
    modules = set((PROJECT / "service").glob("*.py")) - {PROJECT / "service" / "metrics.py"}
    source = "".join(path.read_text() for path in modules)
    named_by_status = {"bad_request", "request_timeout"}
    assert {code for code in codes if f'"{code}"' not in source} == named_by_status


URL = "https://example.com/hello.txt"
SIX_BYTES = Digest(
    {Algorithm.MD5: "b1946ac92492d2347c6235b4d2611184"}, 6, URL, is_length_verified=True
)
MOMENT = datetime(2026, 11, 23, 13, 12, 42, 94_000, tzinfo=UTC)
DONE = replace(
    STATES["done"],
    id="0e4fac17-f367-4807-8c28-8a059a2f82ac",
    url=URL,
    digest=SIX_BYTES,
    submitted_at=MOMENT,
    finished_at=MOMENT + timedelta(milliseconds=500),
)
FAILED = replace(
    STATES["failed"],
    id="5f0c2a4e-64a1-4f0e-9b39-1d5f3f6a7c21",
    url="https://example.com/missing",
    submitted_at=MOMENT,
    finished_at=MOMENT + timedelta(milliseconds=507),
)


@pytest.mark.parametrize(
    ("media_type", "manifest"),
    [
        ("text/csv", CSV),
        ("application/x-ndjson", NDJSON),
        ("text/tab-separated-values", STS),
    ],
)
def test_example_of_an_export_is_what_the_service_writes(
    media_type: str, manifest: Manifest
) -> None:
    content = DOCUMENT["paths"]["/export"]["get"]["responses"]["200"]["content"]
    lines = [manifest.line(DONE, None), manifest.line(FAILED, DONE)]
    assert content[media_type]["example"] == manifest.heading + "".join(lines)


def test_page_has_the_examples_of_bodies_and_files() -> None:
    page = unescape(render(DOCUMENT))
    for part in (f'"urls": [\n    "{URL[:20]}', "TsvHttpData-1.0\n", '"code": "unfinished"'):
        assert part in page


def test_every_name_on_the_page_is_described() -> None:
    terms = re.findall(r"<dt>.*?</dt>\n(<dd>)?", render(DOCUMENT))
    assert len(terms) > 50
    assert all(terms)


BODIES: dict[str, type] = {
    "Batch": BatchBody,
    "Counts": CountsBody,
    "Running": RunningBody,
    "Done": DoneBody,
    "Failed": FailedBody,
    "Failure": FailureBody,
    "Readiness": ReadyBody,
    "Problem": ProblemBody,
    "Error": ErrorBody,
}


@pytest.mark.parametrize("name", BODIES)
def test_schema_has_the_fields_of_the_body(name: str) -> None:
    body, schema = BODIES[name], SCHEMAS[name]
    digests = {f"{prefix}{each}" for prefix in ("", "origin_") for each in Algorithm}
    digests = digests if name == "Done" else set()
    assert schema["properties"].keys() == body.__annotations__.keys() | digests
    assert set(schema["required"]) == body.__required_keys__  # type: ignore[attr-defined]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", BODIES)
def test_schema_has_the_types_of_the_body(name: str) -> None:
    for field, kind in get_type_hints(BODIES[name]).items():
        schema = SCHEMAS[name]["properties"][field]
        while "$ref" in schema:
            schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
        assert types_of(schema) == kinds_of(kind), field


JSON_TYPES = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": NoneType,
}


def types_of(schema: dict[str, Any]) -> set[object]:
    """The types that a schema allows, or its values."""
    if "const" in schema:
        return {schema["const"]}
    if "enum" in schema:
        return set(schema["enum"])
    if "oneOf" in schema:
        return {each["const"] for each in schema["oneOf"]}
    listed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {JSON_TYPES[each] for each in listed}


def kinds_of(kind: object) -> set[object]:
    """The types, or the values, that a type hint allows."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return {one for each in get_args(kind) for one in kinds_of(each)}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {each.value for each in kind}
    if get_origin(kind) is list:
        return {list}
    return {dict} if is_typeddict(kind) else {kind}


def test_document_lists_every_mail_status() -> None:
    assert SCHEMAS["MailStatus"]["enum"] == [status.value for status in MailStatus]


def test_document_lists_every_digest_and_format_of_an_export() -> None:
    export = DOCUMENT["paths"]["/export"]["get"]["parameters"]
    listed = {each["name"]: each["schema"].get("enum") for each in export if "name" in each}
    assert listed["digest"] == [algorithm.value for algorithm in Algorithm]
    assert listed["format"] == list(FORMATS)


def test_document_lists_every_digest_of_a_submission_and_of_a_result() -> None:
    digests = {algorithm.value for algorithm in Algorithm}
    query = DOCUMENT["paths"]["/submit"]["post"]["parameters"]
    assert digests <= {each.get("name") for each in query}
    assert digests <= SCHEMAS["Order"]["properties"].keys()
    assert digests <= SCHEMAS["Done"]["properties"].keys()
    assert set(PARAMETERS) == SCHEMAS["Order"]["properties"].keys()


def test_document_states_the_limits_of_the_code() -> None:
    assert SCHEMAS["URL"]["maxLength"] == MAX_URL_BYTES


def test_document_has_the_pattern_of_keys() -> None:
    pattern = DOCUMENT["components"]["parameters"]["IdempotencyKey"]["schema"]["pattern"]
    assert pattern == f"^(?:{KEY.pattern})$"


def test_every_path_is_there() -> None:
    app = create_app(Settings())
    own: dict[str, set[str]] = defaultdict(set)
    for route in app.router.routes:
        if not route.name.endswith(("_head", "_options", "_slash")):
            own[f"/{route.path}"] |= {method.lower() for method in route.methods}
    folders = (docs.DIRECTORY, page.DIRECTORY)
    files = {f"/{folder.name}/{each.name}" for folder in folders for each in folder.iterdir()}
    files.remove("/docs/openapi.json")
    documented = {path: set(operations) for path, operations in DOCUMENT["paths"].items()}
    assert documented == {path: methods for path, methods in own.items() if path not in files}
