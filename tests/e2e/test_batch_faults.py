"""A batch ends complete and with one mail, whatever fault its servers and workers have."""

import csv
import hashlib
import io
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.servers.system import Workers
from devtools.waiting import wait_for
from tasks.step import StepKind
from tests.e2e.batches import Counts, export, submit_list, wait_for_batch
from tests.e2e.ledger import count_mails, make_all_due
from tests.faults import mongodb, rabbitmq
from tests.faults.workers import kill_a_child

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]
Disaster = Callable[[System, Mongod], AbstractContextManager[None]]

FILES = {f"/{number}": f"file {number}".encode() for number in range(400)}
DIGESTS = [hashlib.md5(body).hexdigest() for body in FILES.values()]
OUTAGE_SECONDS = 4.5  # longer than the LEASE of the tests, and a sweep more


@pytest.fixture(scope="module")
def mongod(replica_set: Mongod) -> Mongod:
    return replica_set


def of_rabbitmq(fault: Callable[[RabbitMQ], AbstractContextManager[None]]) -> Disaster:
    return lambda system, _mongod: fault(rabbitmq_of(system))


def of_mongodb(fault: Callable[[Mongod], AbstractContextManager[None]]) -> Disaster:
    return lambda _system, mongod: fault(mongod)


def rabbitmq_of(system: System) -> RabbitMQ:
    assert system.rabbitmq is not None
    return system.rabbitmq


@contextmanager
def messages_lost(
    system: System, _mongod: Mongod, *, lose: Callable[[RabbitMQ], None]
) -> Iterator[None]:
    rabbitmq = rabbitmq_of(system)
    wait_for(lambda: rabbitmq.waiting().get(StepKind.RUN_LANE))
    lose(rabbitmq)
    yield


@contextmanager
def workers_frozen(system: System, _mongod: Mongod) -> Iterator[None]:
    """They wake up when others may have taken what they held."""
    workers = system.workers
    workers.signal_all(signal.SIGSTOP)
    others = system.start_workers()
    yield
    workers.signal_all(signal.SIGCONT)
    assert others.is_running


@contextmanager
def workers_gone(
    system: System, _mongod: Mongod, *, end: Callable[[Workers], None]
) -> Iterator[None]:
    workers = system.workers
    end(workers)
    yield
    workers.wait()
    system.start_workers()


def stop(workers: Workers) -> None:
    workers.send(signal.SIGTERM)


DISASTERS: dict[str, Disaster] = {
    "RabbitMQ is down": of_rabbitmq(rabbitmq.down),
    "RabbitMQ is frozen": of_rabbitmq(rabbitmq.frozen),
    "RabbitMQ is out of memory": of_rabbitmq(rabbitmq.out_of_memory),
    "the queues are purged": partial(messages_lost, lose=RabbitMQ.purge),
    "the queues are deleted": partial(messages_lost, lose=RabbitMQ.delete_queues),
    "MongoDB is killed": of_mongodb(mongodb.killed),
    "MongoDB is frozen": of_mongodb(mongodb.frozen),
    "MongoDB steps down": of_mongodb(mongodb.stepped_down),
    "MongoDB hangs up": of_mongodb(mongodb.hanging_up),
    "MongoDB has no disk": of_mongodb(mongodb.without_disk),
    "MongoDB is slow": of_mongodb(mongodb.slow),
    "the workers are frozen": workers_frozen,
    "the workers are killed": partial(workers_gone, end=Workers.kill),
    "a worker process is killed": partial(workers_gone, end=kill_a_child),
    "the workers are stopped": partial(workers_gone, end=stop),
}


@pytest.mark.parametrize("name", DISASTERS)
def test_a_batch_outlives(
    name: str,
    serve: Serve,
    inbox: Inbox,
    mongod: Mongod,
    distributed: System,
) -> None:
    origin = serve(FILES)
    distributed.environ["BATCH_PER_HOST"] = "200"  # more lanes than workers fetch at once
    distributed.start_workers(processes=2, threads=4)
    service = distributed.start_service()
    urls = [f"{origin.base}{path}" for path in FILES]
    batch_id = submit_list(service, urls, email="user@example.com")
    counts = Counts()
    wait_for(lambda: len(origin.requests) > 50)
    origin.may_finish.clear()

    with DISASTERS[name](distributed, mongod):
        counts.check(service.check(batch_id))
        origin.may_finish.set()
        end = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < end:
            counts.check(service.check(batch_id))

    make_all_due(distributed.store)  # or a lane whose message was lost waits for half a minute
    counts.check(service.check(batch_id))
    body = wait_for_batch(service, batch_id)
    assert body["tasks"] == {"total": 400, "running": 0, "done": 400, "failed": 0}
    rows = list(csv.DictReader(io.StringIO(export(service, batch_id).text)))
    assert [row["url"] for row in rows] == urls
    assert [row["md5"] for row in rows] == DIGESTS
    wait_for(lambda: service.check(batch_id).json()["mail_status"] == "sent")
    assert count_mails(inbox) == {batch_id: 1}
    distributed.kill()  # a polite stop takes seconds
