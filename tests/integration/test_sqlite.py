"""Properties of the SQLite store alone."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from settings import Settings
from tasks.batch import Lane
from tasks.errors import StoreUnavailableError
from tasks.outcome import Succeeded
from tasks.stores import sqlite
from tasks.stores.contract import TaskStore
from tasks.stores.open import open_store
from tasks.stores.sqlite import SQLiteStore
from tests.batches import store_batch
from tests.examples import (
    DIGEST,
    FULL_TASK,
    LEASE,
    NOW,
    RETENTION,
    STATES,
    insert,
    make_task,
)
from tests.integration.stores import HOLD, OPERATIONS, get, ids, insert_due, overdue, save


@pytest.mark.parametrize("step", [1, 3, 6, 7])
def test_all_waiting_tasks_are_woken_step_by_step(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WOKEN_BATCH", step)
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    later = [NOW + minutes * timedelta(minutes=1) for minutes in (-2, -1, 0, 1, 1, 2)]
    tasks = [replace(make_task(), wake_at=wake_at, dispatched_at=NOW) for wake_at in later]
    for task in tasks:
        insert(store, task)
    statements: list[str] = []
    store._durable.set_trace_callback(statements.append)
    store.wake_unclaimed(NOW)
    store._durable.set_trace_callback(None)
    assert statements.count("COMMIT") == len(tasks) // step + 1
    for task, wake_at in zip(tasks, later, strict=True):
        woken = replace(task, wake_at=min(wake_at, NOW), dispatched_at=None)
        assert get(store, task) == woken
    store.close()


@pytest.mark.parametrize("call", OPERATIONS.values(), ids=OPERATIONS)
def test_damaged_sqlite_file_is_an_outage(
    call: Callable[[TaskStore], object], tmp_path: Path
) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    store._durable.executescript("DROP TABLE tasks; DROP TABLE counters")
    if call in (OPERATIONS["now"], OPERATIONS["disk_space"]):
        call(store)  # does not read the file
    else:
        with pytest.raises(StoreUnavailableError):
            call(store)
    store.close()


def test_sqlite_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "missing" / "tasks.sqlite3")


def test_sqlite_file_that_another_process_is_making(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE anything (a)")
    other.execute("BEGIN IMMEDIATE")  # as at the moment in which it turns to WAL
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(SQLiteStore, path)
        try:
            opening.exception(timeout=0.2)
        except TimeoutError:
            pass  # it waits, as it should
        finally:
            other.execute("COMMIT")
            other.close()
    store = opening.result()
    store.ping()
    store.close()


def test_sqlite_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(path)


def test_sqlite_waits_for_the_disk_where_it_matters(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    levels = [
        connection.execute("PRAGMA synchronous").fetchone()[0]
        for connection in (store._durable, store._hints)
    ]
    assert levels == [2, 1]  # FULL, NORMAL
    store.close()


def test_results_of_members_wait_for_the_disk(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    stored = store_batch(store, ["http://a.example/"])
    lane = stored.lane_of("a.example")
    (claimed,) = store.members.claim(lane, 1, now=store.now(), lease=LEASE, token="token")
    done = claimed.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)
    connections = (store._durable, store._hints, store._reads, store._counts)
    statements: list[list[str]] = [[] for _ in connections]
    for connection, its_statements in zip(connections, statements, strict=True):
        connection.set_trace_callback(its_statements.append)
    assert store.members.save_all([done]) == [get(store, claimed)]
    levels = [
        connection.execute("PRAGMA synchronous").fetchone()[0]
        for connection, its_statements in zip(connections, statements, strict=True)
        if "COMMIT" in its_statements
    ]
    assert levels == [2]  # FULL
    store.close()


READS: dict[str, Callable[[TaskStore], object]] = {
    "get": OPERATIONS["get"],
    "ended": OPERATIONS["ended"],
    "count_unfinished": OPERATIONS["count_unfinished"],
    "backlog": OPERATIONS["backlog"],
    "count_stored": OPERATIONS["count_stored"],
    "due_at": lambda store: store.members.due_at(Lane(group="x", host="y", batch_id="z")),
    "is_unfinished": lambda store: store.members.is_unfinished("x"),
    "has_lane": lambda store: store.members.has_lane("x"),
    "is_running": lambda store: store.members.is_running("x"),
    "count": lambda store: store.members.count("x"),
    "tally": lambda store: store.members.tally("x"),
    "pages": lambda store: store.members.pages("x", "position", 1),
    "failed": lambda store: store.members.failed("x", 1),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_of_sqlite_waits_for_no_write(
    tmp_path: Path, read: Callable[[TaskStore], object]
) -> None:
    with (
        closing(SQLiteStore(tmp_path / "tasks.sqlite3")) as store,
        ThreadPoolExecutor(1) as threads,
        store._transaction(store._durable),
    ):
        threads.submit(read, store).result(timeout=10)


COUNTS = {"count_unfinished", "backlog", "count_stored", "has_lane", "count", "tally"}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_a_read_of_sqlite_waits_for_no_count(tmp_path: Path, name: str) -> None:
    """A count takes time in proportion to the tasks, or to the members of a batch."""
    others = [read for each, read in READS.items() if each not in COUNTS]
    with (
        closing(SQLiteStore(tmp_path / "tasks.sqlite3")) as store,
        ThreadPoolExecutor(1) as threads,
    ):
        with store._count():
            counting = threads.submit(READS[name], store)
            for read in others:
                read(store)
            assert not counting.done()
        counting.result(timeout=10)


def test_sqlite_removes_what_has_expired(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    expired = replace(STATES["done"], id="a", expires_at=NOW)
    kept = replace(STATES["failed"], id="b", expires_at=NOW + timedelta(milliseconds=1))
    insert(store, expired)
    insert(store, kept)
    store.count_hits({"x": 1}, NOW)
    store.take_due(NOW, HOLD, 1)
    assert store.count_hits({"x": 1}, NOW) == {"x": 1}
    assert store.get(expired.id) is None
    assert store.get(kept.id) == kept
    store.close()


def test_sqlite_survives_a_restart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "folder")
    store = open_store(settings)
    insert(store, FULL_TASK)
    running = save(store, FULL_TASK)
    store.close()
    store = open_store(settings)
    assert get(store, FULL_TASK) == running
    store.close()


def test_long_url_is_stored_once_and_as_it_is(tmp_path: Path) -> None:
    url = "http://example.com/" + 2000 * "\U0001f600"
    path = tmp_path / "tasks.sqlite3"
    store = SQLiteStore(path)
    done = replace(make_task(), url=url).claimed(NOW, LEASE)
    task = done.ended(Succeeded(replace(DIGEST, final_url=url)), NOW, retention=RETENTION)
    insert(store, task)
    assert get(store, task) == task
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        (document,) = connection.execute("SELECT document FROM tasks").fetchone()
    assert len(document.encode()) < len(url.encode()) + 300
    assert document.count(url) == 1


def test_sqlite_file_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite3"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(
            "CREATE TABLE tasks (_id TEXT PRIMARY KEY, version INTEGER NOT NULL, wake_at INTEGER,"
            " dispatched_at INTEGER, expires_at INTEGER, document TEXT NOT NULL) WITHOUT ROWID"
        )
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(SQLiteStore, [path] * 4))
    (task,) = insert_due(stores[0], 1)
    assert ids(stores[1].take_due(NOW, HOLD, 10)) == [task.id]
    assert overdue(stores[2]) == 1
    for store in stores:
        store.close()


def test_a_disk_that_is_gone_is_an_outage(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with closing(SQLiteStore(folder / "tasks.sqlite3")) as store:
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailableError):
            store.disk_space()


def test_rests_that_are_over_are_removed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    stored, now = store_batch(store, [f"http://{name}.example/" for name in "ab"]), store.now()
    for host, hours in (("a.example", 1), ("b.example", 3)):
        store.members.rest(stored.lane_of(host), now + timedelta(hours=hours))
    store.take_due(now + timedelta(hours=2), HOLD, 1)
    assert store._durable.execute("SELECT host FROM rests").fetchall() == [("b.example",)]
    store.close()
