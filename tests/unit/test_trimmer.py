from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.examples import NOW, STATES, make_task
from worker.trimmer import BATCH, BATCHES, EPOCH, WINDOW, Trimmer

SECOND = timedelta(seconds=1)


class TimedStore(SQLiteStore):
    """A store whose time a test sets; it counts how often it is counted."""

    time = NOW - (NOW - EPOCH) % WINDOW
    counts = 0

    def now(self) -> datetime:
        return self.time

    def count_stored(self) -> int:
        self.counts += 1
        return super().count_stored()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TimedStore]:
    opened = TimedStore(tmp_path / "tasks.sqlite3")
    yield opened
    opened.close()


def insert_settled(store: TimedStore, count: int) -> list[Task]:
    """Tasks that expire one after the other."""
    done = STATES["done"]
    assert done.expires_at is not None
    tasks = [
        replace(done, id=str(number), expires_at=done.expires_at + number * SECOND)
        for number in range(count)
    ]
    store.insert_all(tasks)
    return tasks


def left(store: TimedStore, tasks: list[Task]) -> list[str]:
    return [task.id for task in tasks if store.get(task.id) is not None]


def test_the_oldest_settled_tasks_go(store: TimedStore) -> None:
    tasks = insert_settled(store, 10)
    unfinished = [make_task() for _ in range(3)]
    store.insert_all(unfinished)
    Trimmer(store, 8).trim()
    assert left(store, tasks) == [task.id for task in tasks[5:]]
    assert left(store, unfinished) == [task.id for task in unfinished]


def test_unfinished_tasks_stay_however_many_they_are(store: TimedStore) -> None:
    unfinished = [replace(task, id=state) for state, task in STATES.items() if not task.is_settled]
    store.insert_all(unfinished)
    Trimmer(store, 1).trim()
    assert len(left(store, unfinished)) == len(unfinished)


@pytest.mark.parametrize("most", [0, 10, 11])
def test_what_is_within_the_limit_stays(store: TimedStore, most: int) -> None:
    insert_settled(store, 10)
    Trimmer(store, most).trim()
    assert store.count_stored() == 10


def test_a_window_has_one_count(store: TimedStore) -> None:
    trimmers = [Trimmer(store, 5) for _ in range(3)]
    insert_settled(store, 10)
    for _ in range(3):
        for trimmer in trimmers:
            trimmer.trim()
    assert store.counts == 1
    store.time += WINDOW
    for trimmer in trimmers:
        trimmer._count_at = 0
        trimmer.trim()
    assert store.counts == 2


def test_a_call_does_a_bounded_piece_of_work(store: TimedStore) -> None:
    insert_settled(store, BATCH * BATCHES + 7)
    trimmer = Trimmer(store, 1)
    trimmer.trim()
    assert store.count_stored() == 7
    trimmer.trim()
    assert store.count_stored() == 1


def test_a_turn_ends_with_its_window(store: TimedStore) -> None:
    insert_settled(store, BATCH * BATCHES + 7)
    trimmer, other = Trimmer(store, 1), Trimmer(store, 1)
    trimmer.trim()
    store.time += WINDOW
    other.trim()
    assert store.count_stored() == 1
    insert_settled(store, 5)
    trimmer.trim()
    assert store.count_stored() > 1


def test_several_processes_remove_no_more_than_what_is_too_much(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    stores = [TimedStore(path) for _ in range(4)]
    tasks = insert_settled(stores[0], 3000)
    trimmers = [Trimmer(store, 1000) for store in stores]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            list(threads.map(Trimmer.trim, trimmers))
    assert left(stores[0], tasks) == [task.id for task in tasks[2000:]]
    for store in stores:
        store.close()


def test_a_count_that_takes_long_is_not_repeated_soon(store: TimedStore) -> None:
    trimmer = Trimmer(store, 5)
    trimmer.trim()
    trimmer._count_at += 3600
    store.time += WINDOW
    trimmer.trim()
    assert store.counts == 1
