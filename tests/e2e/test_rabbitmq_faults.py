"""Whatever RabbitMQ does, submits are answered at once, and every task ends."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from tasks.step import Status
from tests.e2e.ledger import all_tasks, assert_kept, let_hours_pass, submit_all
from tests.faults.rabbitmq import down, frozen, out_of_memory

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]
Fault = Callable[[RabbitMQ], AbstractContextManager[None]]

FILES = {f"/file{number}": bytes([number]) * 50_000 for number in range(10)}
TIMEOUT_SECONDS = 1  # which each look at a broker out of reach takes

# Four times, so often that a consumer hardly comes back in between.
CLOSE_ALL_CONNECTIONS = """
    [begin
        [rabbit_networking:close_connection(Pid, "test") || Pid <- rabbit_networking:connections()],
        timer:sleep(2000)
    end || _ <- lists:seq(1, 4)]."""


@pytest.fixture
def origin(serve: Serve) -> Origin:
    return serve(FILES)


@pytest.mark.parametrize(
    "fault", [down, frozen, out_of_memory], ids=["down", "frozen", "out of memory"]
)
def test_a_rabbitmq_that_takes_nothing(
    fault: Fault, distributed: System, rabbitmq: RabbitMQ, origin: Origin, inbox: Inbox
) -> None:
    # So that it takes the processes less time to notice.
    distributed.environ["RABBITMQ_URL"] = (
        f"{rabbitmq.url}?heartbeat={TIMEOUT_SECONDS}"
        f"&blocked_connection_timeout={TIMEOUT_SECONDS}&stack_timeout={TIMEOUT_SECONDS}"
    )
    service = distributed.start()
    origin.may_finish.clear()
    tasks = submit_all(service, origin, FILES)
    wait_for(lambda: len(origin.requests) == len(FILES))

    with fault(rabbitmq):
        began = time.monotonic()
        tasks |= submit_all(service, origin, FILES)
        assert time.monotonic() - began < TIMEOUT_SECONDS * len(FILES), "submits wait for RabbitMQ"
        origin.may_finish.set()
        wait_for(lambda: count(distributed, Status.DONE) >= len(FILES))
        wait_for(lambda: "the broker is unreachable" in service.output)

    wait_for(lambda: "the broker has recovered" in service.output)
    let_hours_pass(distributed.store)
    assert_kept(distributed, tasks, inbox)


def count(system: System, status: Status) -> int:
    return len([task for task in all_tasks(system.store) if task.status is status])


def test_all_connections_closed_again_and_again(
    distributed: System, rabbitmq: RabbitMQ, origin: Origin, inbox: Inbox
) -> None:
    service = distributed.start()
    closing = threading.Thread(target=rabbitmq.control, args=("eval", CLOSE_ALL_CONNECTIONS))
    closing.start()
    tasks: dict[str, str] = {}

    while closing.is_alive():
        tasks |= submit_all(service, origin, FILES)
        closing.join(0.5)

    # The worker logs a closed connection as it was told, or as a lost stream.
    wait_for(lambda: "the broker is unreachable" in distributed.workers.output)
    let_hours_pass(distributed.store)
    assert_kept(distributed, tasks, inbox)


@pytest.mark.parametrize("lose", [RabbitMQ.purge, RabbitMQ.delete_queues])
def test_the_waiting_messages_lost(
    lose: Callable[[RabbitMQ], None],
    distributed: System,
    rabbitmq: RabbitMQ,
    origin: Origin,
    inbox: Inbox,
) -> None:
    distributed.start_workers(threads=1)
    service = distributed.start_service()
    origin.may_finish.clear()
    tasks = submit_all(service, origin, FILES)
    wait_for(lambda: rabbitmq.waiting().get("compute_md5") == len(FILES) - 1)

    lose(rabbitmq)
    origin.may_finish.set()

    let_hours_pass(distributed.store)
    assert_kept(distributed, tasks, inbox)


def test_downloads_longer_than_the_consumer_timeout(
    distributed: System, rabbitmq: RabbitMQ, origin: Origin, inbox: Inbox
) -> None:
    origin.may_finish.clear()
    with short_consumer_timeout(rabbitmq):
        workers = distributed.start_workers()
        tasks = submit_all(distributed.start_service(), origin, FILES)
        wait_for(lambda: "PRECONDITION_FAILED - delivery acknowledgement" in workers.output)
        origin.may_finish.set()
        assert_kept(distributed, tasks, inbox)
    assert len(origin.requests) == len(FILES), "something was downloaded again"


@contextmanager
def short_consumer_timeout(rabbitmq: RabbitMQ) -> Iterator[None]:
    """For channels that are opened meanwhile."""
    set_both = (
        "application:set_env(rabbit, consumer_timeout, {}),"
        "application:set_env(rabbit, channel_tick_interval, {})."
    )
    rabbitmq.control("eval", set_both.format(1500, 500))
    try:
        yield
    finally:
        rabbitmq.control("eval", set_both.format(1_800_000, 60_000))
