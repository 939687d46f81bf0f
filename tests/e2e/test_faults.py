"""Nothing is lost when a process is killed or a server goes: the first, short proofs."""

import hashlib
import signal
from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.ledger import make_all_due

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {f"/file{number}": bytes([number]) * 100_000 for number in range(10)}


def submit_all(service: Service, origin: Origin) -> dict[str, str]:
    """The path of each task by its id."""
    return {
        service.submit(f"{origin.base}{path}", email=f"user{path[5:]}@example.com"): path
        for path in FILES
    }


def begin_all(service: Service, serve: Serve) -> tuple[Origin, dict[str, str]]:
    """Ten downloads, each halfway through; the origin holds the other halves back."""
    origin = serve(FILES)
    origin.may_finish.clear()
    tasks = submit_all(service, origin)
    wait_for(lambda: len(origin.requests) == len(FILES))
    return origin, tasks


def assert_all_done_and_mailed(
    service: Service, tasks: Mapping[str, str], inbox: Inbox, *, most_mails: int = len(FILES)
) -> None:
    for task_id, path in tasks.items():
        body = service.wait_for_end(task_id, 60).json()
        assert body["md5"] == hashlib.md5(FILES[path]).hexdigest()
    wait_for(lambda: len(set(inbox.recipients)) == len(tasks))
    assert len(inbox.mails) <= most_mails


def test_the_service_killed_in_the_middle_of_ten_downloads(
    embedded: System, serve: Serve, inbox: Inbox
) -> None:
    service = embedded.start()
    origin, tasks = begin_all(service, serve)

    service.kill()
    origin.may_finish.set()

    assert_all_done_and_mailed(embedded.start(), tasks, inbox)


def test_one_budget_bounds_all_attempts_of_a_task(system: System, serve: Serve) -> None:
    """The origin falls silent in each attempt, and the process is killed during the first."""
    origin = serve(FILES)
    origin.may_finish.clear()
    limits = {"DOWNLOAD_BUDGET": "4s", "MAX_ATTEMPTS": "100", "RETRY_BASE": "10ms"}
    system.environ |= limits | {"LEASE": "1s", "READ_TIMEOUT": "1s"}
    service = system.start()
    task_id = service.submit(f"{origin.base}/file0")
    wait_for(lambda: (task := system.store.get(task_id)) and task.seconds_running)
    system.kill()
    service = system.start()

    body = service.wait_for_end(task_id, 60).json()

    assert body["error"] == {
        "code": "deadline",
        "message": "The attempts took longer than 4 seconds together.",
    }
    task = system.store.get(task_id)
    assert task is not None
    assert task.seconds_used >= 4
    assert 2 <= task.attempt <= 6


def test_a_worker_killed_in_the_middle_of_ten_downloads(
    distributed: System, serve: Serve, inbox: Inbox
) -> None:
    workers = distributed.start_workers()
    service = distributed.start_service()
    origin, tasks = begin_all(service, serve)

    workers.kill()
    origin.may_finish.set()
    distributed.start_workers()

    assert_all_done_and_mailed(service, tasks, inbox)


def test_the_system_killed_in_the_middle_of_the_mailing(
    system: System, serve: Serve, inbox: Inbox
) -> None:
    origin = serve(FILES)
    inbox.may_answer.clear()
    service = system.start()
    tasks = submit_all(service, origin)
    wait_for(lambda: inbox.sessions)

    system.kill()
    inbox.may_answer.set()

    service = system.start()
    make_all_due(system.store)  # or a task whose message did not get out waits for 30 s
    # Each mail under way at the kill may have been taken by the server, and be sent once more.
    assert_all_done_and_mailed(service, tasks, inbox, most_mails=2 * len(FILES))


@pytest.mark.services
def test_a_finished_hash_survives_an_outage_of_mongodb(
    distributed: System, serve: Serve, inbox: Inbox, mongod: Mongod
) -> None:
    service = distributed.start()
    origin, tasks = begin_all(service, serve)
    # MongoDB has renewed claims on its disk; it may forget one of the last tenth of a second.
    wait_for(lambda: all("bytes_done" in service.check(each).json() for each in tasks))

    mongod.stop()
    try:
        origin.may_finish.set()
        refused = service.try_to_submit(f"{origin.base}/file0")
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    finally:
        mongod.start()

    assert_all_done_and_mailed(service, tasks, inbox)
    assert len(origin.requests) == len(FILES), "something was downloaded again"


@pytest.mark.services
def test_a_worker_frozen_beyond_its_lease_writes_nothing(
    distributed: System, serve: Serve, inbox: Inbox
) -> None:
    frozen = distributed.start_workers()
    service = distributed.start_service()
    origin, tasks = begin_all(service, serve)

    frozen.signal_all(signal.SIGSTOP)
    distributed.start_workers()
    wait_for(lambda: len(origin.requests) == 2 * len(FILES))
    origin.may_finish.set()
    assert_all_done_and_mailed(service, tasks, inbox)
    frozen.signal_all(signal.SIGCONT)

    wait_for(lambda: frozen.output.count("the claim is lost") == len(FILES))
    assert len(inbox.mails) == len(FILES)


@pytest.mark.services
def test_a_task_that_kills_its_worker_ends(distributed: System, serve: Serve) -> None:
    origin = serve(FILES)
    origin.may_finish.clear()
    service = distributed.start_service(MAX_ATTEMPTS="2")
    task_id = service.submit(f"{origin.base}/file1")

    for attempt in (1, 2):
        workers = distributed.start_workers(MAX_ATTEMPTS="2")
        wait_for(lambda count=attempt: len(origin.requests) == count)  # type: ignore[misc]
        workers.kill()
    distributed.start_workers(MAX_ATTEMPTS="2")

    assert service.wait_for_end(task_id).json()["error"]["code"] == "worker_lost"
