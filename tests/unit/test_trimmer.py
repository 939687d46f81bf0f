from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.task import Task
from tests.examples import NOW, STATES, make_task
from tests.fakes import FakeClock, ScriptedStore
from worker.trimmer import BATCH, BATCHES, COUNT_SHARE, EPOCH, WINDOW, Trimmer

SECOND = timedelta(seconds=1)
WINDOW_START = NOW - (NOW - EPOCH) % WINDOW


@pytest.fixture
def store(store: ScriptedStore) -> ScriptedStore:
    store.time = WINDOW_START
    return store


def insert_settled(store: ScriptedStore, count: int) -> list[Task]:
    """Tasks that expire one after the other."""
    done = STATES["done"]
    assert done.expires_at is not None
    tasks = [
        replace(done, id=str(number), expires_at=done.expires_at + number * SECOND)
        for number in range(count)
    ]
    store.insert_all(tasks)
    return tasks


def left(store: ScriptedStore, tasks: list[Task]) -> list[str]:
    return [task.id for task in tasks if store.get(task.id) is not None]


def test_the_oldest_settled_tasks_go(store: ScriptedStore) -> None:
    tasks = insert_settled(store, 10)
    unfinished = [make_task() for _ in range(3)]
    store.insert_all(unfinished)
    Trimmer(store, 8).trim()
    assert left(store, tasks) == [task.id for task in tasks[5:]]
    assert left(store, unfinished) == [task.id for task in unfinished]


def test_unfinished_tasks_stay_however_many_they_are(store: ScriptedStore) -> None:
    unfinished = [replace(task, id=state) for state, task in STATES.items() if not task.is_settled]
    store.insert_all(unfinished)
    Trimmer(store, 1).trim()
    assert len(left(store, unfinished)) == len(unfinished)


@pytest.mark.parametrize("most", [0, 10, 11])
def test_tasks_within_the_limit_stay(store: ScriptedStore, most: int) -> None:
    insert_settled(store, 10)
    Trimmer(store, most).trim()
    assert store.count_stored() == 10


def test_a_window_has_one_count(store: ScriptedStore) -> None:
    clock = FakeClock()
    trimmers = [Trimmer(store, 5, clock) for _ in range(3)]
    insert_settled(store, 10)
    for _ in range(3):
        for trimmer in trimmers:
            trimmer.trim()
    assert len(store.calls("count_stored")) == 1

    store.advance(WINDOW)
    clock.seconds += WINDOW.total_seconds()
    for trimmer in trimmers:
        trimmer.trim()
    assert len(store.calls("count_stored")) == 2


def test_a_call_does_a_bounded_piece_of_work(store: ScriptedStore) -> None:
    insert_settled(store, BATCH * BATCHES + 7)
    trimmer = Trimmer(store, 1)
    trimmer.trim()
    assert store.count_stored() == 7
    trimmer.trim()
    assert store.count_stored() == 1


def test_a_turn_ends_with_its_window(store: ScriptedStore) -> None:
    insert_settled(store, BATCH * BATCHES + 7)
    trimmer, other = Trimmer(store, 1), Trimmer(store, 1)
    trimmer.trim()
    store.advance(WINDOW)
    other.trim()
    assert store.count_stored() == 1
    insert_settled(store, 5)
    trimmer.trim()
    assert store.count_stored() > 1


def test_several_processes_remove_only_the_excess(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    stores = [ScriptedStore(path) for _ in range(4)]
    for store in stores:
        store.time = WINDOW_START
    tasks = insert_settled(stores[0], 3000)
    trimmers = [Trimmer(store, 1000) for store in stores]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            list(threads.map(Trimmer.trim, trimmers))
    assert left(stores[0], tasks) == [task.id for task in tasks[2000:]]
    for store in stores:
        store.close()


def test_a_slow_count_is_not_repeated_soon(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    counts = 0

    def count_slowly() -> int:
        nonlocal counts
        counts += 1
        clock.seconds += 3
        return 0

    monkeypatch.setattr(store, "count_stored", count_slowly)
    trimmer = Trimmer(store, 5, clock)
    trimmer.trim()

    clock.seconds += 3 * COUNT_SHARE - 1
    store.advance(WINDOW)
    trimmer.trim()
    assert counts == 1

    clock.seconds += 1
    store.advance(WINDOW)
    trimmer.trim()
    assert counts == 2
