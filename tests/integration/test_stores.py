"""One contract, every store."""

import json
import random
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mongomock
import pymongo
import pytest

import tasks.stores.mongodb
from devtools.servers.mongod import Mongod
from devtools.servers.process import free_port
from devtools.waiting import wait_for
from settings import Settings
from tasks.errors import NewerTaskError, StoreUnavailableError
from tasks.outcome import RetryLater, Succeeded
from tasks.step import Status, StepKind
from tasks.stores.contract import BacklogStats, TaskStore
from tasks.stores.mongodb import MongoStore
from tasks.stores.open import open_store
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.examples import (
    DIGEST,
    FULL_TASK,
    LEASE,
    NOW,
    PAUSE,
    RETENTION,
    STATES,
    insert,
    make_task,
    with_attempt,
)

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
OLD_KEYS = [("wake_at", 1), ("status", 1), ("submitted_at", 1)]
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
    store = MongoStore(mongomock.MongoClient(tz_aware=True)["test"])
    store._clock = LocalClock()  # type: ignore[assignment]
    return store


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


@pytest.fixture(params=["sqlite", pytest.param("mongod", marks=pytest.mark.services)])
def open_shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more store on the same tasks, as another process would."""
    if request.param == "sqlite":
        yield from open_closing(lambda: SQLiteStore(tmp_path / "tasks.sqlite3"))
    else:
        url = mongod_url(request.getfixturevalue("mongod"))
        yield from open_closing(lambda: MongoStore.connect(url))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes stores of URLs."""
    connected: list[MongoStore] = []

    def make(url: str) -> MongoStore:
        connected.append(MongoStore.connect(url))
        return connected[-1]

    yield make
    for store in connected:
        store.close()


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """One that a test may kill."""
    server = Mongod(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "mongomock", pytest.param("mongod", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskStore]:
    if request.param == "sqlite":
        opened: TaskStore = SQLiteStore(tmp_path / "tasks.sqlite3")
    elif request.param == "mongomock":
        opened = open_mongomock()
    else:
        opened = MongoStore.connect(mongod_url(request.getfixturevalue("mongod")))
    yield opened
    opened.close()


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


def test_now_is_aware_utc_in_whole_milliseconds(store: TaskStore) -> None:
    before = datetime.now(UTC) - SECOND
    moments = [store.now() for _ in range(100)]
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    assert all(moment.microsecond % 1000 == 0 for moment in moments)
    assert moments == sorted(moments)
    assert before < moments[0] < datetime.now(UTC) + SECOND


def test_ping(store: TaskStore) -> None:
    store.ping()


def test_insert_and_get(store: TaskStore) -> None:
    task, other = make_task(), make_task()
    insert(store, task)
    assert store.get(task.id) == task
    assert store.get(other.id) is None


@pytest.mark.parametrize("task", [*STATES.values(), FULL_TASK], ids=[*STATES, "full"])
def test_round_trip(store: TaskStore, task: Task) -> None:
    insert(store, task)
    found = get(store, task)
    assert found == task
    assert found.submitted_at.tzinfo is not None
    assert type(found.status) is Status


def test_insert_of_a_taken_id(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    assert store.insert_all([replace(task, url="http://example.com/other")]) == {task.id}
    assert store.get(task.id) == task


def test_insert_all_but_those_whose_ids_are_taken(store: TaskStore) -> None:
    first, taken, last = make_task(), make_task(), make_task()
    insert(store, taken)
    others = [first, replace(taken, url="http://example.com/other"), last]
    assert store.insert_all(others) == {taken.id}
    assert [get(store, each) for each in others] == [first, taken, last]
    assert store.insert_all([make_task(), make_task()]) == set()


def test_save_writes_the_next_version(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    claimed = task.claimed(NOW, LEASE)
    assert store.save(claimed) == replace(claimed, version=2)
    assert get(store, task) == replace(claimed, version=2)


def test_save_forgets_what_is_no_more(store: TaskStore) -> None:
    running = replace(STATES["running"], bytes_done=5, failure=STATES["retrying"].failure)
    insert(store, running)
    done = save(store, running.ended(Succeeded(DIGEST), NOW, retention=RETENTION))
    assert get(store, running) == done
    assert done.failure is None


def test_save_over_a_newer_version_writes_nothing(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    winner = save(store, task.claimed(NOW, LEASE))
    assert store.save(task.claimed(NOW + SECOND, LEASE)) is None
    assert store.save(replace(winner, version=3).released(NOW)) is None
    assert get(store, task) == winner


def test_save_of_an_unknown_task_writes_nothing(store: TaskStore) -> None:
    task = make_task()
    assert store.save(task) is None
    assert store.get(task.id) is None


@pytest.mark.parametrize("step", StepKind)
@pytest.mark.parametrize("task", STATES.values(), ids=STATES)
def test_claim_is_that_of_the_task(store: TaskStore, task: Task, step: StepKind) -> None:
    insert(store, task)
    for now in (NOW, NOW + PAUSE):
        expected = get(store, task).claimed_for(step, now, LEASE, "token")
        claimed = store.claim(task.id, step, now, LEASE, "token")
        if expected is None:
            assert claimed is None
            assert get(store, task) == task
        else:
            assert claimed == replace(expected, version=task.version + 1)
            assert get(store, task) == claimed
            return


def test_claim_of_an_unknown_task(store: TaskStore) -> None:
    assert store.claim("unknown", StepKind.COMPUTE_MD5, NOW, LEASE, "token") is None


def test_take_due_takes_what_has_been_due_longest(store: TaskStore) -> None:
    due = insert_due(store, 5)
    insert(store, replace(make_task(), wake_at=NOW + timedelta(milliseconds=1)))
    assert set(ids(store.take_due(NOW, HOLD, 2))) == set(ids(due[:2]))
    assert set(ids(store.take_due(NOW, HOLD, 10))) == set(ids(due[2:]))
    assert store.take_due(NOW, HOLD, 10) == []


def test_take_due_returns_the_longest_due_first(store: TaskStore) -> None:
    due = insert_due(store, 8)
    assert ids(store.take_due(NOW, HOLD, 10)) == ids(due)


def test_take_due_includes_this_very_moment(store: TaskStore) -> None:
    task = replace(make_task(), wake_at=NOW)
    insert(store, task)
    assert ids(store.take_due(NOW, HOLD, 10)) == [task.id]


def test_take_due_moves_wake_at_and_nothing_else(store: TaskStore) -> None:
    task = replace(FULL_TASK, wake_at=NOW)
    insert(store, task)
    assert store.take_due(NOW, HOLD, 10) == [task]
    held = replace(task, wake_at=HOLD)
    assert get(store, task) == held
    assert store.take_due(HOLD - SECOND, HOLD, 10) == []
    assert store.take_due(HOLD, HOLD + SECOND, 10) == [held]


def test_a_taken_task_can_be_saved(store: TaskStore) -> None:
    (task,) = insert_due(store, 1)
    (taken,) = store.take_due(NOW, HOLD, 10)
    assert store.save(task.claimed(NOW, LEASE)) is not None
    assert store.save(taken.claimed(NOW, LEASE)) is None


def test_take_due_leaves_settled_tasks(store: TaskStore) -> None:
    insert(store, replace(STATES["done"], expires_at=NOW + RETENTION))
    assert store.take_due(NOW + SECOND, HOLD, 10) == []


def test_mark_dispatched(store: TaskStore) -> None:
    tasks_ = [make_task(), make_task("someone@example.com"), make_task()]
    for task in tasks_:
        insert(store, task)
    once = [task.dispatched(NOW) for task in tasks_]
    store.mark_dispatched([*once[:1], once[1].dispatched(NOW + SECOND)])
    assert get(store, tasks_[0]) == once[0]
    assert get(store, tasks_[1]) == once[1].dispatched(NOW + SECOND)
    assert get(store, tasks_[2]) == tasks_[2]
    assert store.save(tasks_[0].claimed(NOW, LEASE)) is not None  # a claim in flight wins


def test_mark_dispatched_leaves_what_has_moved_on(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    claimed = save(store, task.claimed(NOW, LEASE))
    store.mark_dispatched([task.dispatched(NOW), make_task().dispatched(NOW)])
    assert get(store, task) == claimed


def test_mark_dispatched_of_none(store: TaskStore) -> None:
    store.mark_dispatched([])


def test_wake_unclaimed(store: TaskStore) -> None:
    now = NOW + timedelta(milliseconds=7)
    waiting_or_not = [replace(task, id=state) for state, task in STATES.items()]
    for task in waiting_or_not:
        insert(store, task)
    store.wake_unclaimed(now)
    for task in waiting_or_not:
        is_waiting = task.next_step is not None and (task.retry_at is None or task.dispatched_at)
        woken = replace(task, wake_at=now, dispatched_at=None)
        assert get(store, task) == (woken if is_waiting else task)


def test_wake_unclaimed_puts_nothing_off(store: TaskStore) -> None:
    (due,) = insert_due(store, 1)
    store.wake_unclaimed(NOW)
    assert get(store, due) == due


def test_count_hits_counts_each_key_in_each_window(store: TaskStore) -> None:
    window = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    next_window = window + timedelta(minutes=1)
    assert store.count_hits({}, window) == {}
    assert store.count_hits({"a": 1}, window) == {"a": 1}
    assert store.count_hits({"a": 2, "b": 1}, window) == {"a": 3, "b": 1}
    assert store.count_hits({"a": 5}, next_window) == {"a": 5}
    assert store.count_hits({"a": 1}, window) == {"a": 4}


def test_count_hits_is_shared(open_shared: Open) -> None:
    stores = [open_shared() for _ in range(4)]
    window = stores[0].now() + timedelta(hours=1)

    def count(number: int) -> dict[str, int]:
        return stores[number % 4].count_hits({"key": 1}, window)

    with ThreadPoolExecutor(8) as threads:
        hits = sorted(each["key"] for each in threads.map(count, range(200)))
    assert hits == list(range(1, 201)), "each is told of its own"


def test_count_unsettled(store: TaskStore) -> None:
    assert store.count_unfinished(100) == 0
    for state, task in STATES.items():
        insert(store, replace(task, id=state))
    assert store.count_unfinished(100) == sum(not task.is_settled for task in STATES.values())
    assert store.count_unfinished(2) == 2


def test_count_stored(store: TaskStore) -> None:
    assert store.count_stored() == 0
    for state, task in STATES.items():
        insert(store, replace(task, id=state))
    assert store.count_stored() == len(STATES)


def insert_settled(store: TaskStore, count: int) -> list[Task]:
    """Tasks that expire one second apart, the oldest first, inserted in another order."""
    done = STATES["done"]
    tasks_ = [
        replace(
            done, id=f"settled {i}", expires_at=done.expires_at and done.expires_at + i * SECOND
        )
        for i in range(count)
    ]
    store.insert_all(random.sample(tasks_, count))
    return tasks_


def test_remove_settled_removes_what_expires_first(store: TaskStore) -> None:
    settled = insert_settled(store, 10)
    assert store.remove_settled(3) == 3
    assert [store.get(task.id) for task in settled[:3]] == [None] * 3
    assert [get(store, task) for task in settled[3:]] == settled[3:]
    assert store.remove_settled(100) == 7
    assert store.remove_settled(100) == 0
    assert store.count_stored() == 0


def test_remove_settled_leaves_every_unfinished_task(store: TaskStore) -> None:
    insert(store, FULL_TASK)
    for state, task in STATES.items():
        insert(store, replace(task, id=state))
    unfinished = {state: task for state, task in STATES.items() if not task.is_settled}
    assert store.remove_settled(100) == len(STATES) - len(unfinished)
    assert get(store, FULL_TASK) == FULL_TASK
    for state, task in unfinished.items():
        assert store.get(state) == replace(task, id=state)
    assert store.remove_settled(100) == 0


def test_remove_settled_by_several_at_once_removes_each_task_once(open_shared: Open) -> None:
    stores = [open_shared() for _ in range(4)]
    insert_settled(stores[0], 300)
    with ThreadPoolExecutor(4) as threads:
        removed = sum(threads.map(lambda store: store.remove_settled(50), stores))
    assert 50 <= removed <= 200
    assert stores[0].count_stored() == 300 - removed


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


def test_survey_of_nothing(store: TaskStore) -> None:
    assert store.backlog(NOW) == BacklogStats(dict.fromkeys(Status, 0), 0, None)


def test_survey(store: TaskStore) -> None:
    for state, task in STATES.items():
        insert(store, replace(task, id=state))
    first = replace(make_task(), submitted_at=AGES_AGO)
    insert(store, first)
    insert(store, replace(make_task(), submitted_at=AGES_AGO - SECOND, wake_at=None))  # settled

    unsettled = [first, *(task for task in STATES.values() if not task.is_settled)]
    times = sorted(task.wake_at for task in unsettled if task.wake_at is not None)
    middle = times[len(times) // 2]
    survey = store.backlog(middle)

    assert survey.by_status == {
        status: sum(task.status is status for task in unsettled) for status in Status
    }
    assert survey.total == len(unsettled)
    assert survey.overdue == sum(each < middle for each in times)
    assert survey.oldest == AGES_AGO


def overdue(store: TaskStore) -> int:
    """Tasks that are overdue an hour after `NOW`."""
    return store.backlog(NOW + timedelta(hours=1)).overdue


def test_a_due_task_is_overdue_until_its_message_is_out(store: TaskStore) -> None:
    (task,) = insert_due(store, 1)
    assert overdue(store) == 1
    for number in range(3):  # sweepers that cannot publish
        now = NOW + number * HOUR
        assert store.take_due(now, now + HOUR, 10)
        assert overdue(store) == 1
    store.mark_dispatched([task.dispatched(NOW + 2 * HOUR)])
    assert overdue(store) == 0
    assert store.backlog(NOW + 4 * HOUR).overdue == 1, "its message is lost, and no worker runs"


def test_a_task_is_not_overdue_at_the_moment_it_is_taken(store: TaskStore) -> None:
    insert_due(store, 1)
    assert store.take_due(NOW, HOLD, 10)
    assert store.backlog(NOW).overdue == 0


@pytest.mark.parametrize("change", ["claim", "save"])
def test_a_task_that_an_actor_has_is_not_overdue(store: TaskStore, change: str) -> None:
    (task,) = insert_due(store, 1)
    assert store.take_due(NOW, HOLD, 10)
    if change == "claim":
        assert store.claim(task.id, StepKind.COMPUTE_MD5, NOW, 2 * HOUR, "token")
    else:
        assert store.save(task.claimed(NOW, 2 * HOUR))
    assert overdue(store) == 0


def test_a_task_passed_to_another_sweeper_remains_overdue(open_shared: Open) -> None:
    first, second = open_shared(), open_shared()
    insert_due(first, 1)
    assert first.take_due(NOW, HOLD, 10)
    assert second.take_due(HOLD, NOW + 2 * HOUR, 10)
    assert overdue(first) == overdue(second) == 1


@pytest.mark.services
def test_mongod_surveys_its_index_alone(mongod: Mongod, connect: Connect) -> None:
    store = connect(url := mongod_url(mongod))
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        partial = {"wake_at": {"$exists": True}}
        database["tasks"].create_index(OLD_KEYS, partialFilterExpression=partial)
        insert_due(store, 5)
        store.take_due(NOW, HOLD, 2)
        assert "wake_at_1_status_1_submitted_at_1" not in database["tasks"].index_information()
        database.command("profile", 2)
        assert store.backlog(NOW + SECOND).overdue == 5
        database.command("profile", 0)
        (entry,) = database["system.profile"].find({"command.aggregate": "tasks"})
    assert entry["docsExamined"] == 0
    assert entry["keysExamined"] == 5


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


def test_each_task_is_claimed_once(open_shared: Open) -> None:
    first = open_shared()
    all_ids = ids(insert_due(first, 300))
    barrier = threading.Barrier(16)

    def claim_what_is_free(store: TaskStore) -> int:
        barrier.wait()
        claims = 0
        for task_id in random.sample(all_ids, len(all_ids)):
            task = store.get(task_id)
            assert task is not None
            if task.status is Status.QUEUED:
                claims += store.save(task.claimed(store.now(), LEASE)) is not None
        return claims

    stores = [open_shared() if i % 4 == 0 else first for i in range(16)]
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(claim_what_is_free, stores)) == 300
    assert all(task is not None and task.version == 2 for task in map(first.get, all_ids))


def test_each_due_task_is_taken_once(open_shared: Open) -> None:
    stores = [open_shared() for _ in range(8)]
    due = insert_due(stores[0], 300)
    barrier = threading.Barrier(8)

    def sweep(store: TaskStore) -> list[str]:
        barrier.wait()
        taken: list[str] = []
        for _ in range(300):
            taken += ids(store.take_due(NOW, HOLD, 25))
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [task_id for batch in threads.map(sweep, stores) for task_id in batch]
    assert Counter(taken) == Counter(ids(due))


def test_one_thread_inserts_an_id(open_shared: Open) -> None:
    store, task, barrier = open_shared(), make_task(), threading.Barrier(8)

    def try_to_insert(number: int) -> bool:
        barrier.wait()
        return not store.insert_all([with_attempt(task, StepKind.COMPUTE_MD5, number)])

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(try_to_insert, range(8))) == 1


def test_many_open_a_new_store_at_once(open_shared: Open) -> None:
    barrier = threading.Barrier(8)

    def open_and_use(_: int) -> None:
        barrier.wait()
        store = open_shared()
        insert(store, make_task())
        store.take_due(NOW, HOLD, 1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_and_use, range(8)))


@pytest.mark.services
def test_mongod_has_indexes_after_a_look_at_what_is_due(mongod: Mongod, connect: Connect) -> None:
    url = mongod_url(mongod)
    store = connect(url)
    store.take_due(NOW, HOLD, 1)
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        indexes = database["tasks"].index_information()
        counters = database["counters"].index_information()
    by_field = {index["key"][0][0]: index for index in indexes.values()}
    assert by_field.keys() == {"_id", "wake_at", "expires_at"}
    assert by_field["expires_at"]["expireAfterSeconds"] == 0
    assert counters["expires_at_1"]["expireAfterSeconds"] == 0


@pytest.mark.services
def test_mongod_removes_what_has_expired(mongod: Mongod, connect: Connect) -> None:
    store = connect(mongod_url(mongod))
    expired, kept = replace(STATES["done"], expires_at=AGES_AGO), make_task()
    insert(store, expired)
    insert(store, kept)
    store.take_due(AGES_AGO, HOLD, 1)
    wait_for(lambda: store.get(expired.id) is None)
    assert store.get(kept.id) == kept


@pytest.mark.services
def test_mongod_keeps_what_was_inserted_through_a_kill(
    own_mongod: Mongod, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.stores.mongodb, "OPERATION_MILLIS", 1000)
    store = connect(mongod_url(own_mongod))
    inserted = insert_due(store, 20)
    own_mongod.process.kill()
    with pytest.raises(StoreUnavailableError):
        insert(store, make_task())
    own_mongod.start()
    assert [get(store, task) for task in inserted] == inserted


UNREACHABLE: list[Callable[[TaskStore], object]] = [
    lambda store: insert(store, make_task()),
    lambda store: store.insert_all([make_task(), make_task()]),
    lambda store: store.get("x"),
    lambda store: store.save(make_task()),
    lambda store: store.claim("x", StepKind.COMPUTE_MD5, NOW, LEASE, "token"),
    lambda store: store.take_due(NOW, HOLD, 1),
    lambda store: store.mark_dispatched([make_task().dispatched(NOW)]),
    lambda store: store.wake_unclaimed(NOW),
    lambda store: store.count_hits({"x": 1}, NOW),
    lambda store: store.count_unfinished(100),
    lambda store: store.backlog(NOW),
    lambda store: store.count_stored(),
    lambda store: store.remove_settled(1),
    lambda store: store.now(),
    lambda store: store.ping(),
]
METHODS = (
    "insert",
    "insert_all",
    "get",
    "save",
    "claim",
    "take_due",
    "mark_dispatched",
    "wake_unclaimed",
    "count_hits",
    "count_unfinished",
    "survey",
    "count_stored",
    "remove_settled",
    "now",
    "ping",
)


@pytest.mark.parametrize("call", UNREACHABLE, ids=METHODS)
def test_mongod_out_of_reach(
    call: Callable[[TaskStore], object], monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(tasks.stores.mongodb, "SERVER_SELECTION_MILLIS", 100)
    monkeypatch.setattr(tasks.stores.mongodb, "OPERATION_MILLIS", 100)
    store = connect(f"mongodb://me:s3cret@127.0.0.1:{free_port()}/x")
    with pytest.raises(StoreUnavailableError) as caught:
        call(store)
    assert "s3cret" not in str(caught.value)


def test_mongod_out_of_reach_is_noticed_before_an_operation_times_out(
    monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(tasks.stores.mongodb, "SERVER_SELECTION_MILLIS", 100)
    store = connect(f"mongodb://127.0.0.1:{free_port()}/x")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.ping()
    assert time.monotonic() - began < tasks.stores.mongodb.OPERATION_MILLIS / 1000


@pytest.mark.parametrize("call", UNREACHABLE, ids=METHODS)
def test_sqlite_file_that_is_gone_bad(call: Callable[[TaskStore], object], tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tasks.sqlite3")
    store._durable.executescript("DROP TABLE tasks; DROP TABLE counters")
    if call is UNREACHABLE[METHODS.index("now")]:
        call(store)  # asks nobody
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


def test_sqlite_file_that_is_no_database(tmp_path: Path) -> None:
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


@pytest.mark.services
def test_mongod_takes_no_other_error_for_a_taken_id(mongod: Mongod, connect: Connect) -> None:
    url = mongod_url(mongod)
    with pymongo.MongoClient[dict[str, object]](url) as client:
        client.get_default_database().create_collection("tasks", validator={"url": "nothing"})
    with pytest.raises(StoreUnavailableError):
        insert(connect(url), make_task())


@pytest.mark.services
def test_mongod_hands_out_no_claim_made_during_a_sweep(
    mongod: Mongod, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, worker = connect(url := mongod_url(mongod)), connect(url)
    tasks_ = insert_due(store, 2)
    update_many = store._hints.update_many

    def claim_after(*args: object, **kwargs: object) -> object:
        result = update_many(*args, **kwargs)  # type: ignore[arg-type]
        assert worker.claim(tasks_[0].id, StepKind.COMPUTE_MD5, NOW, LEASE, "token")
        return result

    monkeypatch.setattr(store._hints, "update_many", claim_after)
    assert ids(store.take_due(NOW, HOLD, 10)) == [tasks_[1].id]


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


@pytest.mark.services
def test_open_store_opens_what_the_settings_name(mongod: Mongod, tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, mongodb_url=mongod_url(mongod)))
    assert isinstance(store, MongoStore)
    store.ping()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_retry_is_due_after_its_pause(store: TaskStore) -> None:
    running, failure = STATES["running"], STATES["retrying"].failure
    assert failure is not None
    insert(store, running)
    save(store, running.ended(RetryLater(PAUSE, failure), NOW, retention=RETENTION))
    assert store.take_due(NOW + PAUSE - SECOND, HOLD, 1) == []
    assert ids(store.take_due(NOW + PAUSE, HOLD, 1)) == [running.id]


NEWER: dict[str, dict[str, Any]] = {
    "another format": {"format": 2},
    "another failure code": {"failure": {"code": "moon_phase", "message": "", "http_status": None}},
}


def change_document(store: TaskStore, task: Task, fields: dict[str, Any]) -> None:
    """Set fields of a stored task, as a newer version might have written it."""
    if isinstance(store, MongoStore):
        store._tasks.update_one({"_id": task.id}, {"$set": fields})
        return
    assert isinstance(store, SQLiteStore)
    with store._transaction(store._durable) as connection:
        for name, value in fields.items():
            connection.execute(
                "UPDATE tasks SET document = json_set(document, ?, json(?)) WHERE _id = ?",
                (f"$.{name}", json.dumps(value), task.id),
            )


@pytest.mark.parametrize("fields", NEWER.values(), ids=NEWER)
@pytest.mark.parametrize("state", ["queued", "done, mail pending", "running"])
def test_task_of_a_newer_version_is_left_alone(
    store: TaskStore, state: str, fields: dict[str, Any]
) -> None:
    newer = replace(STATES[state], id="newer", wake_at=NOW - SECOND)
    known = replace(make_task(), wake_at=NOW)
    for task in (newer, known):
        insert(store, task)
    change_document(store, newer, fields)

    with pytest.raises(NewerTaskError, match="newer"):
        store.get(newer.id)
    for kind in StepKind:
        assert store.claim(newer.id, kind, NOW, LEASE, "token") is None
    # Not even a whole batch of them holds up the others.
    assert [task.id for task in store.take_due(NOW, NOW + SECOND, 1)] == [known.id]

    change_document(store, newer, dict.fromkeys(fields))
    assert store.get(newer.id) == replace(newer, failure=None)
