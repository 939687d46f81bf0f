"""A batch ends complete and with one mail, whatever fault its servers and workers have."""

import csv
import hashlib
import io
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
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
from devtools.servers.system import Service, Workers
from devtools.waiting import wait_for
from tasks.step import StepKind
from tests.e2e.batches import Counts, export, submit_list, try_to_submit_list, wait_for_batch
from tests.e2e.ledger import count_mails, make_all_due, unsettled
from tests.faults import disk, mongodb, rabbitmq, sqlite
from tests.faults.workers import kill_a_child

Serve = Callable[[Mapping[str, bytes]], Origin]
Disaster = Callable[[System, Mongod], AbstractContextManager[None]]
EmbeddedDisaster = Callable[[System], AbstractContextManager[None]]

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


def stop(program: Process) -> None:
    program.send(signal.SIGTERM)


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


@contextmanager
def service_frozen(system: System) -> Iterator[None]:
    """Its leases expire before it continues."""
    system.service.send(signal.SIGSTOP)
    yield
    system.service.send(signal.SIGCONT)


@contextmanager
def service_gone(system: System, *, end: Callable[[Service], None]) -> Iterator[None]:
    end(system.service)
    yield
    system.service.wait()
    system.start_service()


def data_of(system: System) -> Path:
    return Path(system.environ["DATA_DIR"])


EMBEDDED_DISASTERS: dict[str, EmbeddedDisaster] = {
    "the service is frozen": service_frozen,
    "the service is killed": partial(service_gone, end=Service.kill),
    "the service is stopped": partial(service_gone, end=stop),
    "the file is locked": lambda system: sqlite.locked(data_of(system)),
}


@pytest.mark.services
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
    assert_complete(distributed, batch_id, urls, inbox)
    distributed.kill()  # a polite stop takes seconds


def assert_complete(system: System, batch_id: str, urls: Sequence[str], inbox: Inbox) -> None:
    body = wait_for_batch(system.service, batch_id)
    assert body["tasks"] == {"total": 400, "running": 0, "done": 400, "failed": 0}
    rows = list(csv.DictReader(io.StringIO(export(system.service, batch_id).text)))
    assert [row["url"] for row in rows] == urls
    assert [row["md5"] for row in rows] == DIGESTS
    wait_for(lambda: system.service.check(batch_id).json()["mail_status"] == "sent")
    assert count_mails(inbox) == {batch_id: 1}


@pytest.mark.parametrize("name", EMBEDDED_DISASTERS)
def test_a_batch_of_the_embedded_service_outlives(
    name: str, serve: Serve, inbox: Inbox, embedded: System
) -> None:
    origin = serve(FILES)
    service = embedded.start_service(BATCH_PER_HOST="200")
    urls = [f"{origin.base}{path}" for path in FILES]
    batch_id = submit_list(service, urls, email="user@example.com")
    wait_for(lambda: len(origin.requests) > 50)
    origin.may_finish.clear()

    with EMBEDDED_DISASTERS[name](embedded):
        origin.may_finish.set()
        end = time.monotonic() + OUTAGE_SECONDS
        wait_for(lambda: time.monotonic() > end)

    assert_complete(embedded, batch_id, urls, inbox)
    assert max(Counter(origin.requests).values()) <= 2


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_list_is_submitted_while_the_file_is_locked(
    embedded: System, serve: Serve, *, has_begun: bool
) -> None:
    submission = Submission(embedded, serve, 6000)
    with ThreadPoolExecutor() as pool:
        early = submission.begin(pool) if has_begun else None
        with sqlite.locked(data_of(embedded)):
            assert has_begun == submission.has_begun
            refused = (early or pool.submit(submission.send)).result()
    submission.assert_repeatable(refused)


@pytest.mark.parametrize("left", [0, 2**20])
def test_a_list_is_submitted_while_the_disk_is_full(
    small_disk: Path, serve: Serve, left: int
) -> None:
    """A megabyte is enough for the first write, but not for the whole list."""
    system = System(small_disk.parent, {"DATA_DIR": str(small_disk)})
    try:
        submission = Submission(system, serve, 2000)
        with disk.full(small_disk, left=left):
            refused = submission.send()
            assert submission.has_begun == (left > 0)
        submission.assert_repeatable(refused)
    finally:
        system.close()


class Submission:
    """A list that is submitted again and again with the same key."""

    def __init__(self, system: System, serve: Serve, count: int) -> None:
        self._files = {f"/{number}": f"file {number}".encode() for number in range(count)}
        self._origin = serve({**self._files, "/other": b""})
        self._text = "\n".join(f"{self._origin.base}{path}" for path in self._files)
        self._key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        self._service = system.start_service()
        self._store = system.store
        self._stored_before = self._store.count_stored()

    @property
    def has_begun(self) -> bool:
        """Return whether a part of the list is stored, but not all of it."""
        stored = self._store.count_stored() - self._stored_before
        assert stored < len(self._files)
        return stored > 0

    def send(self) -> requests.Response:
        return try_to_submit_list(self._service, self._text, self._key)

    def begin(self, pool: Executor) -> Future[requests.Response]:
        """Return when a part of the list is stored."""
        answer = pool.submit(self.send)
        wait_for(lambda: self.has_begun, longest_pause=0.001)
        return answer

    def assert_repeatable(self, refused: requests.Response) -> None:
        """Nothing of a refused list is requested before it is sent again."""
        assert refused.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert refused.headers["Retry-After"] == "5"
        make_all_due(self._store)
        other = submit_list(self._service, [f"{self._origin.base}/other"])
        wait_for_batch(self._service, other)
        wait_for(lambda: not unsettled(self._store))
        assert self._origin.requests == ["/other"]
        accepted = self.send()
        assert accepted.status_code == HTTPStatus.ACCEPTED
        body = wait_for_batch(self._service, accepted.json()["id"])
        assert body["tasks"]["done"] == len(self._files)
        assert Counter(self._origin.requests) == Counter(["/other", *self._files])
