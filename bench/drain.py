"""A backlog, and workers that drain it: ours, or bare ones in the same place."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench import cpu
from bench.lab import Lab, Tasks
from devtools.servers.process import Process
from service.batch_submission import BatchSubmission
from service.lines import Entry
from tasks.digests import NOTHING_EXPECTED, Algorithm, Digest
from tasks.outcome import Succeeded
from tasks.step import StepKind
from tasks.stores.document import Document, to_document
from tasks.stores.mongodb import MongoStore
from tasks.task import Task

POLL_SECONDS = 0.2
POLL_SHARE = 0.02  # the share of the time that is spent on polling
PATIENCE_SECONDS = 60  # without a single task done
BATCH = 1000

# The backlog's tasks are told by their ids from what else is in the collection.
_PREFIX, _END = "00000000-", "00000001"
_FINISHED = {"_id": {"$lt": _END}, "finished_at": {"$exists": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A module of workers, and the queue that they listen to."""

    module: str
    queue: str
    settings: Mapping[str, str] = field(default_factory=dict)


OURS = Contestant(module="actors", queue=StepKind.COMPUTE_MD5.value)
BARE = Contestant(module="bench.bare", queue="bare", settings={"BARE_DURABLE": "1"})
BARE_SESSION = replace(BARE, settings={"BARE_DURABLE": "1", "BARE_SESSION": "1"})
BARE_SESSION_LAX = replace(BARE, settings={"BARE_SESSION": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How it went; the rate is from the first finished task to the last."""

    tasks_per_second: float
    seconds: float  # from the start of the workers
    cpu_seconds: float  # for 1,000 tasks
    messages: int
    ended: Sequence[int] = ()  # the ended tasks of each batch


def drain(  # noqa: PLR0913
    lab: Lab,
    contestant: Contestant,
    url: str,
    count: int,
    *,
    processes: int = 1,
    threads: int = 8,
    settled: int = 0,
) -> Drained:
    """Insert and enqueue so many tasks for one URL, then start the workers and watch them.

    `settled` tasks of earlier days are in the collection already.
    """
    with lab.tasks() as (tasks, settings):
        _insert(tasks, map(to_document, _settled_tasks(url, settled)))
        documents = [to_document(task) for task in _queued_tasks(url, count)]
        _insert(tasks, documents)
        _enqueue(lab.rabbitmq.url, contestant.queue, [each["_id"] for each in documents])
        return _run(lab, contestant, tasks, settings, count, _FINISHED, processes, threads)


def _run(  # noqa: PLR0913, PLR0917  what two callers have in common
    lab: Lab,
    contestant: Contestant,
    tasks: Tasks,
    settings: Mapping[str, str],
    count: int,
    finished: Document,
    processes: int,
    threads: int,
) -> Drained:
    began = datetime.now(UTC)
    with lab.program(
        *("-m", "dramatiq", contestant.module, "bench.counter"),
        *("-p", str(processes), "-t", str(threads)),
        settings={**settings, **contestant.settings},
    ) as workers:
        cpu_seconds = _watch(tasks, workers, count, finished)
        workers.stop()
    ended, first, last = _first_and_last(tasks, finished)
    return Drained(
        tasks_per_second=(ended - 1) / (last - first).total_seconds(),
        seconds=(last - began).total_seconds(),
        cpu_seconds=cpu_seconds,
        messages=messages_of(workers),
    )


def rate_of(tasks: Tasks, finished: Document) -> float:
    """Return how many of these tasks finished in a second, from the first to the last."""
    ended, first, last = _first_and_last(tasks, finished)
    return (ended - 1) / (last - first).total_seconds()


def messages_of(workers: Process) -> int:
    """Return how many messages workers with `bench.counter` have taken, once they have stopped."""
    totals = dict(re.findall(r"process=(\d+) messages=(\d+)", workers.output))  # the last ones
    return sum(map(int, totals.values()))


def drain_batches(
    lab: Lab,
    batches: Sequence[Sequence[str]],
    *,
    per_host: int = 8,
    until: int | None = None,
    host: str | None = None,
) -> Drained:
    """Insert batches of URLs, then start a worker with eight threads and watch it.

    The worker is stopped when `until` tasks have ended; by default, when all have. With a `host`,
    only its tasks count.
    """
    with lab.tasks() as (tasks, settings):
        store = MongoStore.connect(settings["MONGODB_URL"])
        groups, lanes = [], []
        for urls in batches:
            submission = BatchSubmission(
                entries=[Entry(url, NOTHING_EXPECTED) for url in urls],
                email=None,
                task_id=None,
                networks=(),
            )
            parts = submission.parts(store.now(), per_host)
            _insert(tasks, map(to_document, [*parts.members(), *parts.lanes, parts.batch]))
            store.members.activate(parts.group)
            groups.append(parts.group)
            lanes += [lane.id for lane in parts.lanes]
        store.take_due(store.now(), store.now() + timedelta(minutes=10), len(lanes))
        _enqueue(lab.rabbitmq.url, StepKind.RUN_LANE.value, lanes)
        finished: Document = {
            "member.group": {"$in": groups},
            "status": {"$in": ["done", "failed"]},
        }
        if host:
            finished["member.host"] = host
        count = until or sum(map(len, batches))
        drained = _run(lab, OURS, tasks, settings, count, finished, 1, 8)
        ended = [store.members.tally(group).ended for group in groups]
        store.close()
        return replace(drained, ended=ended)


def _queued_tasks(url: str, count: int) -> Iterator[Task]:
    """As they are once their messages are sent."""
    for _ in range(count):
        now = datetime.now(UTC)
        task = Task.new(url, now).dispatched(now)
        yield replace(task, id=_PREFIX + task.id.removeprefix(task.id[: len(_PREFIX)]))


def _settled_tasks(url: str, count: int) -> Iterator[Task]:
    digest = Digest(
        {Algorithm.MD5: "d41d8cd98f00b204e9800998ecf8427e"}, 0, url, is_length_verified=True
    )
    now = datetime.now(UTC)
    for _ in range(count):
        task = Task.new(url, now).claimed(now, timedelta(seconds=30))
        yield task.ended(Succeeded(digest), now, retention=timedelta(days=30))


def _insert(tasks: Tasks, documents: Iterable[Document]) -> None:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == BATCH:
            tasks.insert_many(batch)
            batch = []
    if batch:
        tasks.insert_many(batch)


def _enqueue(rabbitmq_url: str, queue: str, ids: Iterable[str]) -> None:
    broker = RabbitmqBroker(url=rabbitmq_url, middleware=[])
    broker.declare_queue(queue, ensure=True)
    for each in ids:
        broker.enqueue(
            Message(queue_name=queue, actor_name=queue, args=(each,), kwargs={}, options={})
        )
    broker.close()


def _watch(tasks: Tasks, workers: Process, count: int, finished: Document) -> float:
    """Wait until `count` tasks have ended; return the processor seconds for 1,000 of them."""
    samples: list[tuple[int, float]] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not samples or samples[-1][0] < count:
        assert workers.is_running, workers.output[-2000:]
        assert time.monotonic() < deadline, f"{samples[-1:]} of {count}: {workers.output[-2000:]}"
        asked_at = time.monotonic()
        done = tasks.count_documents(finished)
        if done and (not samples or done > samples[-1][0]):
            samples.append((done, cpu.of_group(workers.pid)))
            deadline = time.monotonic() + PATIENCE_SECONDS
        time.sleep(max(POLL_SECONDS, (time.monotonic() - asked_at) / POLL_SHARE))
    failed = tasks.count_documents({**finished, "status": "failed"})
    assert failed == 0, f"{failed} failed"
    (first_done, first_cpu), (_, last_cpu) = samples[0], samples[-1]
    return (last_cpu - first_cpu) / max(count - first_done, 1) * 1000


def _first_and_last(tasks: Tasks, finished: Document) -> tuple[int, datetime, datetime]:
    moments: dict[str, Any] = tasks.aggregate(
        [
            {"$match": finished},
            {
                "$group": {
                    "_id": None,
                    "count": {"$sum": 1},
                    "first": {"$min": "$finished_at"},
                    "last": {"$max": "$finished_at"},
                }
            },
        ]
    ).next()
    return moments["count"], moments["first"], moments["last"]
