"""An operator sees that the broker is unreachable, or refuses access, and why."""

import time
from collections.abc import Iterator

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.process import Process, free_port
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import PATIENCE, wait_for
from telemetry.availability import REPEAT_SECONDS
from tests.e2e.ledger import make_all_due, wait_until_settled
from tests.e2e.scraping import scrape, scrape_store
from tests.faults.rabbitmq import down

pytestmark = pytest.mark.services

BROKER, OVERDUE = "md5_light_broker_up", "md5_light_tasks_overdue"
REPAIRS = 'md5_light_sweeper_repairs_total{kind="message"}'
REFUSAL = "the broker refuses access: 403 ACCESS_REFUSED"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({"/file": b"to be hashed"}) as origin:
        yield origin


def ready(system: System) -> dict[str, str]:
    answer = requests.get(f"{system.service.base}/health/ready", timeout=PATIENCE)
    assert answer.status_code == requests.codes.ok
    body: dict[str, str] = answer.json()
    del body["version"]
    return body


def test_an_outage_shows_in_the_metrics_of_service_and_workers(
    distributed: System, rabbitmq: RabbitMQ, origin: Origin
) -> None:
    distributed.environ["RABBITMQ_URL"] = f"{rabbitmq.url}?heartbeat=2&stack_timeout=2"
    workers = f"http://127.0.0.1:{(port := free_port())}"
    distributed.start_workers(processes=2, METRICS_PORT=str(port))
    service = distributed.start_service()
    wait_for(lambda: scrape(service.base)[BROKER] == scrape(workers)[BROKER] == 1)
    assert scrape_store(service.base)[OVERDUE] == 0

    with down(rabbitmq):
        wait_for(lambda: scrape(service.base)[BROKER] == scrape(workers)[BROKER] == 0)
        task_id = service.submit(f"{origin.base}/file")
        down_only = {"status": "ok", "store": "ok", "broker": "unreachable"}
        wait_for(lambda: ready(distributed) == down_only)
        make_all_due(distributed.store)  # of which a new task has half a minute
        wait_for(lambda: scrape_store(service.base)[OVERDUE] == 1)
        # It stays overdue, however often a sweeper takes it.
        repairs = scrape(workers)[REPAIRS]

        def was_taken_again() -> bool:
            assert scrape_store(service.base)[OVERDUE] == 1
            return scrape(workers)[REPAIRS] > repairs + 1

        wait_for(was_taken_again)

    wait_for(lambda: scrape(service.base)[BROKER] == scrape(workers)[BROKER] == 1)
    wait_until_settled(distributed.store, task_id)
    wait_for(lambda: scrape_store(service.base)[OVERDUE] == 0)
    wait_for(lambda: ready(distributed)["broker"] == "ok")


def test_a_wrong_password_is_an_error_that_names_the_setting(
    distributed: System, rabbitmq: RabbitMQ, origin: Origin
) -> None:
    distributed.environ["RABBITMQ_URL"] = rabbitmq.url.replace(":guest@", ":wr0ng-password@")
    port = free_port()
    began = time.monotonic()
    workers = distributed.start_workers(METRICS_PORT=str(port))
    service = distributed.start_service()
    processes: list[Process] = [workers, service]

    for process in processes:
        (line,) = wait_for(lambda process=process: refusals(process))  # type: ignore[misc]
        assert "ERROR" in line
        assert "RABBITMQ_URL" in line
        assert "RABBITMQ_PASSWORD" in line
    service.submit(f"{origin.base}/file")
    assert ready(distributed)["broker"] == "unreachable"
    make_all_due(distributed.store)
    wait_for(lambda: scrape_store(service.base)[OVERDUE] == 1)
    assert scrape(service.base)[BROKER] == 0
    assert scrape(f"http://127.0.0.1:{port}")[BROKER] == 0
    for process in processes:  # which have tried several times in the meantime
        assert len(refusals(process)) <= 1 + (time.monotonic() - began) // REPEAT_SECONDS
        assert "Traceback" not in process.output
        assert "wr0ng-password" not in process.output


def refusals(process: Process) -> list[str]:
    return [line for line in process.output.splitlines() if REFUSAL in line]
