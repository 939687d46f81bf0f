"""A server that goes away and comes back is told of in two lines of each process."""

import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.process import Process
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from tests.e2e.ledger import (
    make_all_due,
    make_due,
    wait_for_first_mailing,
    wait_until_settled,
)
from tests.faults.mongodb import frozen
from tests.faults.rabbitmq import down

LONG_SECONDS = 4.0  # whoever says something each second says it often in that time
READY_SECONDS = 10.0  # in which /health/ready answers, also on a busy machine


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({"/file": b"to be hashed"}) as origin:
        yield origin


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """One that may be stopped."""
    server = Mongod(tmp_path / "mongod")
    yield server
    server.stop()


def assert_told_twice(process: Process, what: str) -> None:
    """Since it began to work, a process has told that something went and came, and no more."""
    lines = process.output.splitlines()
    begin = max(
        number
        for number, line in enumerate(lines)
        if "ready for action" in line or "Worker ready" in line
    )
    # The step of a task may be the first to notice that the server is back.
    told = [line for line in lines[begin + 1 :] if what in line or "task=" not in line]
    assert len(told) == 2, "\n".join(told)
    assert f"{what} is unreachable: " in told[0]
    assert f"{what} has recovered" in told[1]


def pass_seconds() -> None:
    end = time.monotonic() + LONG_SECONDS
    wait_for(lambda: time.monotonic() > end)


def ready(system: System) -> dict[str, str]:
    url = f"{system.service.base}/health/ready"
    answer: dict[str, str] = requests.get(url, timeout=READY_SECONDS).json()
    del answer["version"]
    return answer


def wait_until_ready(system: System, **expected: str) -> None:
    """Wait for an answer. Each part of it has a short time, which a busy machine may exceed."""
    wait_for(lambda: ready(system) == expected)


@pytest.mark.services
def test_rabbitmq_is_stopped(distributed: System, rabbitmq: RabbitMQ, origin: Origin) -> None:
    distributed.environ["RABBITMQ_URL"] = rabbitmq.url  # with the usual heartbeat
    service = distributed.start()
    wait_until_ready(distributed, status="ok", store="ok", broker="ok")
    with down(rabbitmq):
        wait_until_ready(distributed, status="ok", store="ok", broker="unreachable")
        for _ in range(5):
            service.submit(f"{origin.base}/file")
        pass_seconds()

    for process in (service, distributed.workers):
        wait_for(partial(is_back, process))
    task_id = service.submit(f"{origin.base}/file")
    assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
    for process in (service, distributed.workers):
        assert_told_twice(process, "the broker")


def is_back(process: Process) -> bool:
    return "has recovered" in process.output


@pytest.mark.services
def test_mongodb_is_frozen(
    distributed: System, own_mongod: Mongod, rabbitmq: RabbitMQ, origin: Origin
) -> None:
    distributed.environ["RABBITMQ_URL"] = rabbitmq.url  # with the usual heartbeat
    distributed.environ["MONGODB_URL"] = own_mongod.database_url("test")
    service = distributed.start()
    origin.may_finish.clear()
    tasks = [service.submit(f"{origin.base}/file") for _ in range(5)]
    wait_for(lambda: len(origin.requests) == len(tasks))
    wait_until_ready(distributed, status="ok", store="ok", broker="ok")
    with frozen(own_mongod):
        wait_until_ready(distributed, status="unavailable", store="unreachable", broker="ok")
        origin.may_finish.set()
        for _ in range(3):
            assert "md5_light_store_up 0.0" in scrape(service.base)
            assert service.check(tasks[0]).status_code == HTTPStatus.SERVICE_UNAVAILABLE
        pass_seconds()

    wait_for(lambda: ready(distributed)["store"] == "ok" and is_back(service))
    wait_for(partial(is_back, distributed.workers))
    assert "md5_light_store_up 1.0" in scrape(service.base)
    make_all_due(distributed.store)  # a killed server may have forgotten the claims
    for task_id in tasks:
        assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
    for process in (service, distributed.workers):
        assert_told_twice(process, "MongoDB")


def scrape(base: str) -> str:
    response = requests.get(f"{base}/metrics", timeout=READY_SECONDS)
    assert response.status_code == HTTPStatus.OK
    return response.text


def test_the_mail_server(embedded: System, inbox: Inbox, origin: Origin) -> None:
    service = embedded.start()
    inbox.stop()
    tasks = [service.submit(f"{origin.base}/file", email="a@example.com") for _ in range(5)]
    waiting = [wait_for_first_mailing(embedded.store, task_id) for task_id in tasks]
    pass_seconds()
    inbox.start()
    for task in waiting:
        make_due(embedded.store, task)
    for task_id in tasks:
        wait_until_settled(embedded.store, task_id)

    told = [line for line in service.output.splitlines() if "the mail server" in line]
    assert len([line for line in told if "is unreachable" in line]) == 1
    assert len([line for line in told if "has recovered" in line]) == 1
    assert "Traceback" not in service.output
    assert "WARNING worker.steps.send_email" not in service.output
