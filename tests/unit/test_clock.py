"""The clock of a SQLite file, while somebody sets that of the machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.outcome import RetryLater
from tasks.step import Status, StepKind
from tasks.stores import clock
from tasks.stores.sqlite import SQLiteStore
from tests.examples import FAILURE, LEASE, PAUSE, RETENTION, insert, make_task

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
START = datetime(2024, 5, 1, 12, tzinfo=UTC)


@dataclass
class Machine:
    """Its wall clock, and how long it has been running."""

    wall: datetime = START
    uptime: timedelta = HOUR

    def run(self, duration: timedelta) -> None:
        self.wall += duration
        self.uptime += duration

    def restart(self, wall: datetime) -> None:
        self.wall, self.uptime = wall, MINUTE


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def nanos(duration: timedelta) -> int:
        return duration // timedelta(microseconds=1) * 1000

    monkeypatch.setattr(time, "time_ns", lambda: nanos(made.wall - epoch))
    monkeypatch.setattr(clock, "_monotonic_nanos", lambda: nanos(made.uptime))
    return made


@pytest.fixture
def open_store(tmp_path: Path, machine: Machine) -> Iterator[Callable[[], SQLiteStore]]:
    """Opens one more store on the same file, as another process would."""
    del machine  # its clock comes first
    opened: list[SQLiteStore] = []

    def open_another() -> SQLiteStore:
        opened.append(SQLiteStore(tmp_path / "tasks.sqlite3"))
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


Open = Callable[[], SQLiteStore]


def sweep(store: SQLiteStore) -> list[str]:
    now = store.now()
    return [task.id for task in store.take_due(now, now + 10 * SECOND, 100)]


def sweep_for(machine: Machine, duration: timedelta, *stores: SQLiteStore) -> None:
    """Let each store's sweeper do its round every second."""
    end = machine.uptime + duration
    while machine.uptime < end:
        for store in stores:
            sweep(store)
        machine.run(SECOND)


def test_it_is_the_wall_clock(machine: Machine, open_store: Open) -> None:
    store = open_store()
    assert store.now() == START
    machine.run(1234 * MILLISECOND)
    assert store.now() == machine.wall


def test_it_follows_a_clock_set_forward(machine: Machine, open_store: Open) -> None:
    first, second = open_store(), open_store()
    sweep(first)
    machine.wall += HOUR
    assert first.now() == second.now() == START + HOUR
    sweep(first)
    machine.run(SECOND)
    assert first.now() == second.now() == open_store().now() == machine.wall


def test_time_continues_when_the_clock_is_set_back(machine: Machine, open_store: Open) -> None:
    store = open_store()
    sweep(store)
    machine.wall -= HOUR
    machine.run(SECOND)
    assert store.now() == START + SECOND
    sweep(store)
    assert store.now() == START + SECOND


def test_time_continues_when_the_clock_is_set_back_before_the_first_mark(
    machine: Machine, open_store: Open
) -> None:
    store = open_store()
    machine.wall -= HOUR
    sweep(store)
    assert store.now() == open_store().now() == START


@pytest.mark.parametrize("uptime", [MINUTE, 10 * HOUR], ids=["soon after a restart", "later"])
def test_a_retry_does_not_wait_for_the_clock(
    uptime: timedelta, machine: Machine, open_store: Open
) -> None:
    machine.uptime = uptime
    store = open_store()
    task = make_task(now=store.now()).claimed(store.now(), LEASE)
    insert(store, task)
    sweep(store)
    assert store.save(task.ended(RetryLater(PAUSE, FAILURE), store.now(), retention=RETENTION))

    machine.wall -= HOUR
    assert sweep(store) == []
    machine.run(PAUSE)
    assert sweep(store) == [task.id]
    now = store.now()
    claimed = store.claim(task.id, StepKind.COMPUTE_MD5, now, LEASE, "token")
    assert claimed is not None
    assert claimed.status is Status.RUNNING


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_retry_does_not_wait_for_the_clock_in_the_next_process(
    machine: Machine, open_store: Open, *, is_restarted: bool
) -> None:
    store = open_store()
    sweep_for(machine, 2 * MINUTE, store)
    task = make_task(now=store.now()).claimed(store.now(), LEASE)
    insert(store, task)
    assert store.save(task.ended(RetryLater(PAUSE, FAILURE), store.now(), retention=RETENTION))
    store.close()

    if is_restarted:
        machine.restart(machine.wall - HOUR)
    else:
        machine.wall -= HOUR
    store = open_store()
    assert sweep(store) == []
    machine.run(PAUSE + (MINUTE if is_restarted else SECOND))  # the last mark may be as old
    assert sweep(store) == [task.id]


def test_a_process_that_starts_later_has_the_same_time(machine: Machine, open_store: Open) -> None:
    first = open_store()
    sweep(first)
    machine.wall -= HOUR
    machine.run(SECOND)
    second = open_store()
    assert abs(first.now() - second.now()) < SECOND
    running = make_task(now=second.now()).claimed(second.now(), LEASE)
    insert(second, running)
    assert sweep(first) == [], "a lease was stolen"


def test_processes_agree_while_the_clock_slows_down(machine: Machine, open_store: Open) -> None:
    first, second, service = open_store(), open_store(), open_store()
    sweep(first)
    machine.wall -= MINUTE
    before = first.now()
    for _ in range(21 * 60):
        machine.run(SECOND)
        for store in (first, second):
            sweep(store)
        service.count_unfinished(10)
        times = [store.now() for store in (first, second, service)]
        assert max(times) - min(times) < SECOND
        assert min(times) > before
        before = min(times)
    assert abs(first.now() - machine.wall) < SECOND


def test_an_idle_store_writes_its_mark_once_a_minute(machine: Machine, open_store: Open) -> None:
    store = open_store()
    sweep(store)

    def marks() -> object:
        return store._hints.execute("SELECT * FROM clock").fetchone()

    before, written = marks(), 0
    for _ in range(180):
        machine.run(SECOND)
        sweep(store)
        written += marks() != before
        before = marks()
    assert written == 3
