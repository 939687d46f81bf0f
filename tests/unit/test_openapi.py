"""Whether what is written about the API is what the code says, word for word."""

import json
import re
from typing import Any

import pytest

from devtools.servers.process import PROJECT
from service import docs, page
from service.app import create_app
from service.idempotency import KEY
from service.metrics import REFUSALS
from settings import Settings
from tasks.failure import FailureCode
from tasks.step import MailStatus
from tasks.url import MAX_URL_BYTES

DOCUMENT: dict[str, Any] = json.loads((docs.FOLDER / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
FAILURE_CODES = [code.value for code in FailureCode]


def test_failure_codes() -> None:
    assert SCHEMAS["FailureCode"]["enum"] == FAILURE_CODES


@pytest.mark.parametrize("name", ["README.md", "service/docs/index.html"])
def test_every_failure_code_is_explained(name: str) -> None:
    row = r"^\| `([a-z_]+)` \| |<tr><td><code>([a-z_]+)</code></td>"
    rows = re.findall(row, (PROJECT / name).read_text(), re.MULTILINE)
    explained = [markdown or html for markdown, html in rows]
    assert sorted(explained) == sorted(FAILURE_CODES)


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
    explained = set(re.findall(r"<code>([a-z_]+)</code>", (docs.FOLDER / "index.html").read_text()))
    assert codes <= explained
    modules = set((PROJECT / "service").glob("*.py")) - {PROJECT / "service" / "metrics.py"}
    source = "".join(path.read_text() for path in modules)
    named_by_status = {"bad_request", "request_timeout"}
    assert {code for code in codes if f'"{code}"' not in source} == named_by_status


def test_mail_statuses() -> None:
    assert SCHEMAS["MailStatus"]["enum"] == [status.value for status in MailStatus]


def test_limits() -> None:
    assert SCHEMAS["URL"]["maxLength"] == MAX_URL_BYTES


def test_what_is_a_key() -> None:
    pattern = DOCUMENT["components"]["parameters"]["IdempotencyKey"]["schema"]["pattern"]
    assert pattern == f"^(?:{KEY.pattern})$"


def test_every_path_is_there() -> None:
    app = create_app(Settings())
    own = {
        f"/{route.path}": {method.lower() for method in route.methods}
        for route in app.router.routes
        if not route.name.endswith(("_head", "_options"))
    }
    folders = (docs.FOLDER, page.FOLDER)
    files = {f"/{folder.name}/{each.name}" for folder in folders for each in folder.iterdir()}
    files.remove("/docs/openapi.json")
    documented = {path: set(operations) for path, operations in DOCUMENT["paths"].items()}
    assert documented == {path: methods for path, methods in own.items() if path not in files}
