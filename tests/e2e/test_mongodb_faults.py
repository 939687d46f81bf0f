"""MongoDB dies, freezes, steps down, fails and is slow, at every moment of a task's life."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.system import Service, Workers
from devtools.waiting import wait_for
from tasks.task import Task
from tests.e2e.batches import insert_long_batch
from tests.e2e.ledger import assert_done_and_mailed
from tests.faults.mongodb import (
    frozen,
    hanging_up,
    killed,
    slow,
    stepped_down,
    without_disk,
)

Serve = Callable[[Mapping[str, bytes]], Origin]
Fault = Callable[[Mongod], AbstractContextManager[None]]

pytestmark = pytest.mark.services

FILES = {f"/file{number}": bytes([number]) * 100_000 for number in range(9)}
OUTAGE_SECONDS = 4.5  # longer than the LEASE of the tests, and a sweep more
LIVE_SECONDS = 4.0  # sooner than after an operation of MongoDB that nobody answers
MESSAGE_SECONDS = 20.0  # in which a message of a new task is out, also on a busy machine
MOST_TRIES = 3
ANSWER_SECONDS = 15.0  # what a client may have to wait for a 503, also on a busy machine


@pytest.fixture(scope="module")
def mongod(replica_set: Mongod) -> Mongod:
    return replica_set


@dataclass
class Scene:
    """Two worker processes with tasks at every moment of their lives."""

    system: System
    workers: Workers
    service: Service
    origin: Origin
    inbox: Inbox
    bodies: dict[str, bytes] = field(default_factory=dict)

    def submit(self, *numbers: int) -> list[str]:
        ids = []
        for path in (f"/file{number}" for number in numbers):
            ids.append(self.service.submit(f"{self.origin.base}{path}", email="a@example.com"))
            self.bodies[ids[-1]] = FILES[path]
        return ids

    def begin(self) -> None:
        """Three mails and three downloads under way; three messages that no worker has seen."""
        self.inbox.may_answer.clear()
        self.submit(0, 1, 2)
        wait_for(lambda: self.inbox.sessions == 3)
        self.origin.may_finish.clear()
        downloads = self.submit(3, 4, 5)
        # MongoDB has renewed claims on its disk; it may forget one of the last tenth of a second.
        wait_for(lambda: all(self.task(each).bytes_done for each in downloads))
        self.workers.signal_all(signal.SIGSTOP)
        for number in (6, 7, 8):
            self.send_message(number)

    def task(self, task_id: str) -> Task:
        task = self.system.store.get(task_id)
        assert task is not None
        return task

    def send_message(self, number: int) -> None:
        """Submit tasks until a message is out.

        One may get lost on a busy machine, and no sweeper is awake to repeat it.
        """
        for _ in range(MOST_TRIES):
            (task_id,) = self.submit(number)
            with suppress(AssertionError):
                wait_for(lambda: self.task(task_id).dispatched_at, MESSAGE_SECONDS)  # noqa: B023  it is called here
                return
        raise AssertionError("no message gets out")

    def go_on(self) -> None:
        """Mails are sent, downloads end, messages arrive: all of them want to be saved."""
        self.workers.signal_all(signal.SIGCONT)
        self.origin.may_finish.set()
        self.inbox.may_answer.set()

    def live_through(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert_alive(self.service)


@pytest.fixture
def scene(distributed: System, inbox: Inbox, serve: Serve) -> Iterator[Scene]:
    distributed.environ["READ_TIMEOUT"] = "1h"
    workers = distributed.start_workers(processes=2)
    yield Scene(distributed, workers, distributed.start_service(), serve(FILES), inbox)
    distributed.kill()  # a polite stop takes seconds


def assert_alive(service: Service) -> None:
    response = requests.get(f"{service.base}/health/live", timeout=LIVE_SECONDS)
    assert response.status_code == HTTPStatus.OK


def assert_unavailable(response: requests.Response) -> None:
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert response.json()["error"]["code"] == "store_unavailable"
    assert response.headers["Retry-After"] == "5"
    assert response.elapsed.total_seconds() < ANSWER_SECONDS


@pytest.mark.parametrize("fault", [killed, frozen, stepped_down, hanging_up, without_disk])
def test_an_outage_longer_than_the_lease(scene: Scene, mongod: Mongod, fault: Fault) -> None:
    scene.begin()

    with fault(mongod):
        scene.go_on()
        began = time.monotonic()
        assert_unavailable(scene.service.try_to_submit(f"{scene.origin.base}/file0"))
        scene.live_through(began + OUTAGE_SECONDS - time.monotonic())

    assert_done_and_mailed(scene.system.store, scene.bodies, scene.inbox)
    assert len(scene.origin.requests) == len(scene.bodies), "something was downloaded again"


def test_writes_that_are_done_but_answered_with_an_error(scene: Scene, mongod: Mongod) -> None:
    scene.begin()

    mongod.fail("insert", "update", writeConcernError={"code": 64, "errmsg": "waiting timed out"})
    try:
        scene.go_on()
        assert_unavailable(scene.service.try_to_submit(f"{scene.origin.base}/file0"))
        scene.live_through(OUTAGE_SECONDS)
    finally:
        mongod.heal()

    assert_done_and_mailed(scene.system.store, scene.bodies, scene.inbox)
    assert len(scene.origin.requests) == len(scene.bodies), "something was downloaded again"


def test_a_slow_mongodb_costs_no_lease(scene: Scene, mongod: Mongod) -> None:
    with slow(mongod):
        scene.begin()
        scene.workers.signal_all(signal.SIGCONT)
        scene.live_through(OUTAGE_SECONDS)
        scene.go_on()
        assert_done_and_mailed(scene.system.store, scene.bodies, scene.inbox)

    assert len(scene.origin.requests) == len(scene.bodies), "something was downloaded again"


def test_no_client_waits_for_long_while_mongodb_is_silent(
    distributed: System, mongod: Mongod
) -> None:
    """There are more clients than threads that wait for MongoDB."""
    service = distributed.start_service()
    task_id = service.submit("http://127.0.0.1/")
    with ThreadPoolExecutor(80) as clients, frozen(mongod):
        answers = [
            *(clients.submit(service.try_to_submit, "http://127.0.0.1/") for _ in range(70)),
            *(clients.submit(service.check, task_id) for _ in range(10)),
        ]
        while not all(answer.done() for answer in answers):
            assert_alive(service)
        for answer in answers:
            assert_unavailable(answer.result())


def test_accepted_tasks_survive_a_kill_of_mongodb(distributed: System, mongod: Mongod) -> None:
    service = distributed.start_service()
    accepted: list[str] = []

    def submit_until_refused() -> requests.Response:
        while (response := service.try_to_submit("http://127.0.0.1/")).ok:
            accepted.append(response.json()["id"])
        return response

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(submit_until_refused) for _ in range(4)]
        wait_for(lambda: len(accepted) > 50)
        with killed(mongod):
            for answer in answers:
                assert_unavailable(answer.result())

    store = distributed.store
    assert all(store.get(task_id) for task_id in accepted)


@pytest.mark.parametrize("fault", [frozen, killed])
def test_an_export_that_cannot_go_on_is_cut_off(
    distributed: System, mongod: Mongod, fault: Fault
) -> None:
    """A client must not take the part that it has got for the whole."""
    service = distributed.start_service()
    batch_id = insert_long_batch(distributed)
    url = f"{service.base}/export?id={batch_id}"
    with requests.get(url, stream=True, timeout=60) as answer:
        assert answer.status_code == HTTPStatus.OK
        parts = answer.iter_content(2**12)
        next(parts)
        with fault(mongod), pytest.raises(requests.exceptions.ChunkedEncodingError):
            for _ in parts:
                pass
    assert_alive(service)
