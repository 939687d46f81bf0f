"""Helpers of the tests of stores."""

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import mongomock

from devtools.servers.mongod import Mongod
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.stores.mongodb import MongoStore
from tasks.task import Task
from tests.examples import (
    LEASE,
    NOW,
    insert,
    make_task,
)

SECOND = timedelta(seconds=1)
HOLD = NOW + timedelta(seconds=10)
AGES_AGO = datetime(2001, 1, 1, tzinfo=UTC)
Open = Callable[[], TaskStore]
Connect = Callable[[str], MongoStore]


class LocalClock:
    """In the place of the server's, which mongomock cannot be asked for."""

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def open_mongomock() -> TaskStore:
    return MongoStore(mongomock.MongoClient(tz_aware=True)["test"], LocalClock())


def mongod_url(mongod: Mongod) -> str:
    return mongod.database_url(f"stores_{uuid.uuid4().hex}")


def open_closing(open_one: Open) -> Iterator[Open]:
    opened: list[TaskStore] = []

    def open_another() -> TaskStore:
        opened.append(open_one())
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


def insert_due(store: TaskStore, count: int) -> list[Task]:
    """Tasks due one second apart, the first one longest, inserted in another order."""
    due = [replace(make_task(), wake_at=NOW - (count - i) * SECOND) for i in range(count)]
    for task in random.sample(due, count):
        insert(store, task)
    return due


def get(store: TaskStore, task: Task) -> Task:
    found = store.get(task.id)
    assert found is not None
    return found


def save(store: TaskStore, task: Task) -> Task:
    saved = store.save(task)
    assert saved is not None
    return saved


def ids(found: list[Task]) -> list[str]:
    return [task.id for task in found]


def overdue(store: TaskStore) -> int:
    """Tasks that are overdue an hour after `NOW`."""
    return store.backlog(NOW + timedelta(hours=1)).overdue


# Each operation of a store, by its name.
OPERATIONS: dict[str, Callable[[TaskStore], object]] = {
    "insert_all": lambda store: store.insert_all([make_task(), make_task()]),
    "get": lambda store: store.get("x"),
    "ended": lambda store: store.ended(["x"]),
    "save": lambda store: store.save(make_task()),
    "claim": lambda store: store.claim("x", StepKind.COMPUTE_MD5, NOW, LEASE, "token"),
    "take_due": lambda store: store.take_due(NOW, HOLD, 1),
    "mark_dispatched": lambda store: store.mark_dispatched([make_task().dispatched(NOW)]),
    "wake_unclaimed": lambda store: store.wake_unclaimed(NOW),
    "count_hits": lambda store: store.count_hits({"x": 1}, NOW),
    "count_unfinished": lambda store: store.count_unfinished(100),
    "backlog": lambda store: store.backlog(NOW),
    "count_stored": lambda store: store.count_stored(),
    "disk_space": lambda store: store.disk_space(),
    "remove_settled": lambda store: store.remove_settled(1),
    "now": lambda store: store.now(),
    "ping": lambda store: store.ping(),
}
