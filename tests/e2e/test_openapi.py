"""Whether the OpenAPI document is true: the live service is asked what it says can be asked."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import positive_data_acceptance

from devtools.servers.deployment import System
from devtools.servers.process import free_port
from devtools.servers.system import Service
from devtools.waiting import wait_for_a_fresh_minute
from service import docs
from tasks.digests import Algorithm, Expected
from tasks.outcome import Succeeded
from tasks.step import StepKind
from tasks.task import Task
from tests.examples import (
    BATCH,
    DIGEST,
    LEASE,
    NOW,
    RETENTION,
    STATES,
    insert,
    with_attempt,
)

URL = "http://127.0.0.1:1025/never-fetched"
TOKEN = "a-token-of-the-tests"

LONGEST_WAIT = 30  # seconds; an example prefers to wait for ten

REFUSALS = ["400", "401", "404", "405", "413", "422"]

schema = schemathesis.openapi.from_path(
    docs.DIRECTORY / "openapi.json",
    config=schemathesis.config.SchemathesisConfig.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
    ),
)
SUBMIT, CHECK = schema["/submit"]["POST"], schema["/check"]["GET"]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Without a broker and workers: nothing that is submitted is ever fetched."""
    system = System(
        tmp_path_factory.mktemp("openapi"), {"RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}"}
    )
    yield system
    system.close()


@pytest.fixture(scope="module")
def service(system: System) -> Service:
    return system.start_service()


def make_test(operation_id: str) -> Callable[..., None]:
    @schema.include(operation_id=operation_id).parametrize()
    @hypothesis.settings(max_examples=100, derandomize=True)
    def test(case: schemathesis.Case[Any], service: Service) -> None:
        excluded: list[CheckFunction] = []
        if operation_id in ("submit", "export"):
            # Which URLs and addresses are acceptable, and that a parameter stands in the query or
            # in the body, is more than a schema can say. So is which parameters go together.
            excluded.append(positive_data_acceptance)
        case.call_and_validate(
            base_url=service.base, excluded_checks=excluded, timeout=LONGEST_WAIT
        )

    made: Callable[..., None] = test
    return made


# One function each: of the tests that Schemathesis makes of one, which have the same id under
# pytest 9, pytest-xdist runs one.
for path in schema.raw_schema["paths"].values():
    for operation in path.values():
        name = operation["operationId"]
        globals()[f"test_{name}_is_what_the_document_says"] = make_test(name)


RUNNING = STATES["running"]
TASKS = {
    **STATES,
    "progressed": RUNNING.progressed(5, 10),
    "progressed, size unknown": RUNNING.progressed(5, None),
    "verified": replace(STATES["done"], expected=Expected({Algorithm.MD5: DIGEST.md5})),
    "not verified": replace(STATES["done"], expected=Expected({Algorithm.MD5: "0" * 32})),
    "tried again": replace(
        with_attempt(RUNNING, StepKind.COMPUTE_MD5, 2), failure=STATES["failed"].failure
    ),
}


def check_new(system: System, service: Service, task: Task) -> requests.Response:
    """Return the answer about a task with a new id, whose schema is validated."""
    task = replace(task, id=str(uuid.uuid4()))
    insert(system.store, task)
    response = service.check(task.id)
    CHECK.validate_response(response)
    return response


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_in_each_state_is_as_documented(
    system: System, service: Service, task: Task
) -> None:
    assert check_new(system, service, task).status_code in {200, 202, 424}


def done(batch: Task) -> Task:
    assert batch.batch is not None
    outcome = Succeeded(tally=batch.batch.tally)
    return batch.claimed(NOW, LEASE).ended(outcome, NOW, retention=RETENTION)


assert BATCH.batch is not None
EXPECTING = Task.new("", NOW, batch=BATCH.batch)
PLAIN = Task.new("", NOW, batch=replace(BATCH.batch, is_expecting=False))
RUNNING_KEYS = {"status", "tasks", "bytes_done"}
DONE_KEYS = RUNNING_KEYS | {"submitted_at", "finished_at"}
# The batches, with the keys and the status codes of the answers about them.
BATCHES: dict[str, tuple[Task, set[str], int]] = {
    "queued": (BATCH, RUNNING_KEYS, 202),
    "running": (BATCH.claimed(NOW, LEASE), RUNNING_KEYS, 202),
    "done": (done(PLAIN), DONE_KEYS, 200),
    "done, with expectations": (done(EXPECTING), DONE_KEYS | {"mismatched"}, 200),
    "done, with a mail": (done(BATCH), DONE_KEYS | {"mismatched", "mail_status"}, 200),
}


@pytest.mark.parametrize(("batch", "keys", "status"), BATCHES.values(), ids=BATCHES)
def test_a_batch_in_each_state_is_as_documented(
    system: System, service: Service, batch: Task, keys: set[str], status: int
) -> None:
    response = check_new(system, service, batch)
    assert response.status_code == status
    body = response.json()
    assert body.keys() == keys
    assert body["status"] == ("done" if status == requests.codes.ok else "running")
    assert body["tasks"] == {"total": 1200, "running": 96, "done": 1100, "failed": 4}


def examples_of_orders() -> list[tuple[str, dict[str, Any]]]:
    body: dict[str, Any] = schema.raw_schema["paths"]["/submit"]["post"]["requestBody"]
    return [
        (media_type, example["value"])
        for media_type, each in body["content"].items()
        for example in each["examples"].values()
    ]


@pytest.mark.parametrize(("media_type", "order"), examples_of_orders())
def test_the_examples_of_requests_work(
    service: Service, media_type: str, order: dict[str, Any]
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "application/x-www-form-urlencoded": {"data": order},
        "multipart/form-data": {"files": {name: (None, value) for name, value in order.items()}},
        "application/json": {"json": order},
    }
    answer = submit(service, **bodies[media_type])
    assert answer.status_code == requests.codes.accepted
    SUBMIT.validate_response(answer)


def submit(service: Service, **request: Any) -> requests.Response:
    return requests.post(f"{service.base}/submit", timeout=10, **request)


def test_refusals_are_as_documented(system: System, service: Service) -> None:
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    bounded = system.start_service(SUBMITS_PER_MINUTE="1")
    full = system.start_service(MAX_UNFINISHED="1")
    closed = system.start_service(API_TOKENS=TOKEN)
    submit(service, data={"url": URL}, headers=key)
    wait_for_a_fresh_minute()
    submit(bounded, data={"url": URL})
    submit(bounded, data={"url": URL})
    answers = [
        (401, submit(closed, data={"url": URL})),
        (413, submit(service, data={"url": "x" * 70_000})),
        (422, submit(service, data={"url": f"{URL}2"}, headers=key)),
        (429, submit(bounded, data={"url": URL})),
        (503, submit(full, data={"url": URL})),
    ]
    for status, answer in answers:
        assert answer.status_code == status
        SUBMIT.validate_response(answer)
    CHECK.validate_response(closed.check("x"))


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/openapi.json"])
def test_a_file_that_is_known_is_not_sent_again(service: Service, path: str) -> None:
    first = requests.get(f"{service.base}{path}", timeout=10)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = requests.get(f"{service.base}{path}", headers=tag, timeout=10)
    assert again.status_code == requests.codes.not_modified
    schema[path]["GET"].validate_response(again)


def test_the_page_for_people_needs_nothing_from_elsewhere(service: Service) -> None:
    page = requests.get(f"{service.base}/docs", timeout=10)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';")
    assert "script-src" not in policy
    assert "<script" not in page.text
    links = set(re.findall(r'(?:href|src)="([^"#]+)"', page.text))
    assert {"docs/openapi.json", "docs/docs.css", "page/page.css"} <= links
    for link in links:
        answer = requests.get(urljoin(page.url, link), timeout=10)
        assert answer.status_code == requests.codes.ok, link
    assert urljoin(page.url, "docs/openapi.json").startswith(service.base)
