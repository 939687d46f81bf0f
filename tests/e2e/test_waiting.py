"""`Prefer: wait=N`: one request that is answered when the task has ended."""

import contextlib
import hashlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from devtools.waiting import PATIENCE, wait_for
from service.waiting import MOST_WAITERS
from tests.e2e.batches import export
from tests.e2e.ledger import all_tasks
from tests.e2e.scraping import scrape
from tests.wire import connect, status_of
from worker.descriptors import raise_descriptor_limit

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = b"hello\n"
MD5 = hashlib.md5(BODY).hexdigest()
LONG = {"Prefer": "wait=60"}
SHORT = {"Prefer": "wait=1"}
STOP_SECONDS = 12  # shorter than the 15 s for which Sanic waits for open connections


@pytest.fixture(scope="module")
def closed(open_system: System) -> Service:
    return open_system.start_service()


def submit(
    service: Service, fields: Mapping[str, str], headers: Mapping[str, str] = LONG
) -> requests.Response:
    return requests.post(f"{service.base}/submit", data=fields, headers=headers, timeout=PATIENCE)


def check(
    service: Service, task_id: str, headers: Mapping[str, str] = LONG, method: str = "GET"
) -> requests.Response:
    return requests.request(
        method,
        f"{service.base}/check",
        params={"id": task_id},
        headers=headers,
        timeout=PATIENCE,
    )


def test_a_submission_is_answered_with_the_result(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY})

    answer = submit(service, {"url": f"{origin.base}/file"})

    assert answer.status_code == HTTPStatus.OK
    body = answer.json()
    assert (body["status"], body["md5"]) == ("done", MD5)
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert answer.headers["Content-Location"] == f"/check?id={body['id']}"
    assert "Location" not in answer.headers
    assert service.check(body["id"]).json() == {
        name: value for name, value in body.items() if name != "id"
    }


def test_a_submission_is_answered_with_the_failure(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({})
    answer = submit(service, {"url": f"{origin.base}/missing"})
    assert answer.status_code == HTTPStatus.FAILED_DEPENDENCY
    assert answer.json()["error"]["http_status"] == HTTPStatus.NOT_FOUND
    assert answer.headers["Content-Location"] == f"/check?id={answer.json()['id']}"


def test_a_batch_is_answered_with_its_counts(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY})
    answer = submit(service, {"urls": f"{origin.base}/file\n{origin.base}/missing"})
    assert answer.status_code == HTTPStatus.OK
    assert answer.json()["tasks"] == {"total": 2, "running": 0, "done": 1, "failed": 1}
    assert export(service, answer.json()["id"]).status_code == HTTPStatus.OK


def test_what_does_not_end_in_time_is_answered_as_usual(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()

    submitted = submit(service, {"url": f"{origin.base}/file"}, SHORT)
    task_id = submitted.json()["id"]
    checked = check(service, task_id, SHORT)
    exported = requests.get(
        f"{service.base}/export", params={"id": task_id}, headers=SHORT, timeout=PATIENCE
    )

    assert submitted.status_code == checked.status_code == HTTPStatus.ACCEPTED
    assert submitted.json() == {"id": task_id}
    assert submitted.headers["Location"] == f"/check?id={task_id}"
    assert "Content-Location" not in submitted.headers
    assert checked.json()["status"] == "running"
    assert checked.headers["Retry-After"] == "1"
    assert exported.status_code == HTTPStatus.CONFLICT
    for answer in (submitted, checked, exported):
        assert answer.headers["Preference-Applied"] == "wait=1"
        assert answer.elapsed.total_seconds() > 0.9


def test_everyone_who_waits_learns_the_end(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: origin.requests)
    with ThreadPoolExecutor(4) as clients:
        url = f"{service.base}/export"
        answers = [
            clients.submit(check, service, task_id),
            clients.submit(check, service, task_id, LONG, "HEAD"),
            clients.submit(
                requests.get, url, params={"id": task_id}, headers=LONG, timeout=PATIENCE
            ),
        ]
        wait_for(lambda: service.check(task_id).json().get("bytes_done"))
        assert not any(answer.done() for answer in answers)
        origin.may_finish.set()
        checked, head, exported = (answer.result() for answer in answers)
    assert checked.json()["md5"] == hashlib.md5(BODY * 100_000).hexdigest()
    assert head.status_code == exported.status_code == HTTPStatus.OK
    assert head.headers["Preference-Applied"] == "wait=60"
    assert head.content == b""
    assert checked.json()["md5"] in exported.text


def test_a_repeated_submission_waits_for_the_same_task(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve({"/file": BODY})
    order, key = {"url": f"{origin.base}/file"}, {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    usual = submit(service, order, key)
    answers = [submit(service, order, {**key, **LONG}) for _ in range(2)]
    assert usual.status_code == HTTPStatus.ACCEPTED
    assert [answer.json()["md5"] for answer in answers] == [MD5, MD5]
    assert {answer.json()["id"] for answer in answers} == {usual.json()["id"]}
    assert len(origin.requests) == 1


@pytest.mark.parametrize("prefer", ["respond-async", "wait", "wait=soon", "wait=-5", '"', "wait=0"])
def test_a_preference_that_cannot_be_read_is_ignored(closed: Service, prefer: str) -> None:
    answer = submit(closed, {"url": "http://127.0.0.1:1025/"}, {"Prefer": prefer})
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert "Preference-Applied" not in answer.headers


def test_whoever_asks_for_an_unknown_task_does_not_wait(closed: Service) -> None:
    assert check(closed, str(uuid.uuid4())).status_code == HTTPStatus.NOT_FOUND


def test_whoever_waits_is_no_slow_client(embedded: System, serve: Serve) -> None:
    embedded.environ |= {"REQUEST_TIMEOUT": "4s", "SANIC_RESPONSE_TIMEOUT": "4"}
    service, origin = embedded.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()
    answer = submit(service, {"url": f"{origin.base}/file"}, {"Prefer": "wait=10"})
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert answer.elapsed.total_seconds() > 9.9
    took = 'md5_light_http_request_seconds_sum{route="/submit",status="2xx"}'
    assert scrape(service.base)[took] < 8  # without the wait


def test_a_wait_is_repeated_after_a_kill(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()
    order, key = {"url": f"{origin.base}/file"}, {"Idempotency-Key": f'"{uuid.uuid4()}"', **LONG}
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(submit, service, order, key)
        wait_for(lambda: origin.requests)
        service.kill()
        with pytest.raises(requests.ConnectionError):
            answer.result()
    service = system.start_service()
    origin.may_finish.set()
    again = submit(service, order, key)
    assert again.json()["md5"] == hashlib.md5(BODY * 100_000).hexdigest()
    assert len(all_tasks(system.store)) == 1


def test_a_stop_answers_those_who_wait(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: service.check(task_id).json().get("bytes_done"))
    with waiting_client(service, task_id) as answer:
        service.send(signal.SIGTERM)
        assert answer.result().status_code == HTTPStatus.ACCEPTED
        # Its connection is still open, for which the stop does not wait.
        assert service.wait(STOP_SECONDS) == 0
    assert "ERROR" not in service.output


@contextlib.contextmanager
def waiting_client(service: Service, task_id: str) -> Iterator[Future[requests.Response]]:
    """A client that is being made to wait, and keeps its connection when it is answered."""
    with requests.Session() as session, ThreadPoolExecutor(1) as clients:
        url = f"{service.base}/check"
        get = partial(session.get, url, params={"id": task_id}, headers=LONG, timeout=PATIENCE)
        answer = clients.submit(get)
        with connect(service) as connection:  # it comes after the other one, and is answered
            connection.sendall(waiting_request(service, task_id, 1))
            assert status_of(connection.recv(65536)) == HTTPStatus.ACCEPTED
        yield answer


def waiting_request(service: Service, task_id: str, seconds: int) -> bytes:
    host = urlsplit(service.base).netloc
    head = f"GET /check?id={task_id} HTTP/1.1\r\nHost: {host}\r\nPrefer: wait={seconds}\r\n\r\n"
    return head.encode()


@pytest.mark.services
def test_a_thousand_wait_with_a_few_queries(distributed: System, mongod: Mongod) -> None:
    """Without workers, so all queries are those of the service."""
    service = distributed.start_service(CONNECTIONS_PER_CLIENT="0")
    tasks = [service.submit(f"http://127.0.0.1/{number}") for number in range(100)]
    raise_descriptor_limit()
    with contextlib.ExitStack() as opened:

        def is_full_after_more() -> bool:
            for task_id in tasks:
                connection = opened.enter_context(connect(service))
                connection.sendall(waiting_request(service, task_id, 60))
            return not may_wait(service, tasks[0])  # the next request is answered at once

        for _ in range(MOST_WAITERS // len(tasks) - 1):
            assert not is_full_after_more()
        wait_for(is_full_after_more)  # some may have been answered early on a busy machine

        began, before = time.monotonic(), queries(mongod)
        wait_for(lambda: time.monotonic() > began + 3 and queries(mongod) > before + 3)
        assert queries(mongod) - before < 10 * (time.monotonic() - began)

    # All have hung up, so others may wait.
    wait_for(lambda: may_wait(service, tasks[0]))


def may_wait(service: Service, task_id: str) -> bool:
    answer = check(service, task_id, SHORT)
    assert answer.status_code == HTTPStatus.ACCEPTED
    return "Preference-Applied" in answer.headers


def queries(mongod: Mongod) -> int:
    return int(mongod.command("serverStatus")["opcounters"]["query"])


@pytest.mark.services
def test_a_wait_outlasts_an_outage_of_the_store(
    distributed: System, mongod: Mongod, serve: Serve
) -> None:
    service, origin = distributed.start(), serve({"/file": BODY * 100_000})
    origin.may_finish.clear()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: service.check(task_id).json().get("bytes_done"))
    with waiting_client(service, task_id) as answer:
        mongod.stop()
        wait_for(lambda: "MongoDB is unreachable" in service.output)
        mongod.start()
        origin.may_finish.set()
        assert answer.result().status_code == HTTPStatus.OK
