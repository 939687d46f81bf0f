"""Workers that are killed, or told to stop, in the middle of a lot of work."""

import signal
from collections.abc import Callable, Mapping

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import Workers
from devtools.waiting import wait_for
from tasks.step import Status
from tests.e2e.ledger import all_tasks, assert_kept, submit_all
from tests.faults.workers import kill_a_child

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {f"/file{number}": bytes([number]) * 5_000 for number in range(30)}


def kill_the_master(workers: Workers) -> None:
    """Its children go on."""
    workers.send(signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_a_child, kill_the_master, Workers.kill])
def test_workers_killed_in_the_middle_of_thirty_tasks(
    kill: Callable[[Workers], None], distributed: System, serve: Serve, inbox: Inbox
) -> None:
    origin = serve(FILES)
    inbox.may_answer.clear()  # what is killed is in the middle of its work
    workers = distributed.start_workers(processes=3, threads=2)
    tasks = submit_all(distributed.start_service(), origin, FILES)
    wait_for(lambda: inbox.waiting == len(FILES))

    kill(workers)

    inbox.may_answer.set()
    assert workers.wait() != 0
    if kill is not kill_the_master:
        distributed.start_workers()
    # Each mail under way at the kill may have been taken by the server, and be sent once more.
    assert_kept(distributed, tasks, inbox, most_mails=1 if kill is kill_the_master else 2)


def test_stopping_worker_releases_thirty_tasks_at_once(
    distributed: System, serve: Serve, inbox: Inbox
) -> None:
    origin = serve(FILES)
    origin.may_finish.clear()
    workers = distributed.start_workers(threads=len(FILES))
    tasks = submit_all(distributed.start_service(), origin, FILES)
    wait_for(lambda: len(origin.requests) == len(FILES))

    workers.send(signal.SIGTERM)

    assert workers.wait() == 0
    left = all_tasks(distributed.store)
    assert {(task.status, task.attempt) for task in left} == {(Status.QUEUED, 0)}
    distributed.start_workers(threads=len(FILES))
    wait_for(lambda: len(origin.requests) == 2 * len(FILES))
    origin.may_finish.set()
    assert_kept(distributed, tasks, inbox)
