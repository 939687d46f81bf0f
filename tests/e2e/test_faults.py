"""Nothing is lost when a process is killed or a server goes: the first, short proofs."""

import hashlib
from collections.abc import Callable, Mapping

import pytest

from tests.e2e.conftest import System
from tests.servers import Inbox, Origin, RabbitMQ, Service
from tests.waiting import wait_for

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {f"/file{number}": bytes([number]) * 100_000 for number in range(10)}


def submit_all(service: Service, origin: Origin) -> dict[str, str]:
    """The path of each task by its id."""
    return {
        service.submit(f"{origin.base}{path}", email=f"user{path[5:]}@example.com"): path
        for path in FILES
    }


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
    origin = serve(FILES)
    origin.may_finish.clear()
    service = embedded.start()
    tasks = submit_all(service, origin)
    wait_for(lambda: len(origin.requests) == len(FILES))

    service.kill()
    origin.may_finish.set()

    assert_all_done_and_mailed(embedded.start(), tasks, inbox)


def test_a_worker_killed_in_the_middle_of_ten_downloads(
    distributed: System, serve: Serve, inbox: Inbox
) -> None:
    origin = serve(FILES)
    origin.may_finish.clear()
    workers = distributed.start_workers()
    service = distributed.start_service()
    tasks = submit_all(service, origin)
    wait_for(lambda: len(origin.requests) == len(FILES))

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

    # Each mail under way at the kill may have been taken by the server, and be sent once more.
    assert_all_done_and_mailed(system.start(), tasks, inbox, most_mails=2 * len(FILES))


@pytest.mark.services
def test_submits_while_rabbitmq_is_down(
    distributed: System, serve: Serve, inbox: Inbox, rabbitmq: RabbitMQ
) -> None:
    origin = serve(FILES)
    service = distributed.start()
    rabbitmq.stop()
    try:
        tasks = submit_all(service, origin)
    finally:
        rabbitmq.start()

    assert_all_done_and_mailed(service, tasks, inbox)
