"""One contract, every store."""

import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.batch import Batch, Tally
from tasks.errors import NewerTaskError
from tasks.outcome import RetryLater, Succeeded
from tasks.step import Status, StepKind
from tasks.stores.contract import BacklogStats, TaskStore
from tasks.stores.document import FORMAT
from tasks.stores.mongodb import MongoStore
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
from tests.integration.stores import (
    AGES_AGO,
    HOLD,
    SECOND,
    Open,
    get,
    ids,
    insert_due,
    overdue,
    save,
)

HOUR = timedelta(hours=1)


def test_now_is_aware_utc_in_whole_milliseconds(store: TaskStore) -> None:
    before = datetime.now(UTC) - SECOND
    moments = [store.now() for _ in range(100)]
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    assert all(moment.microsecond % 1000 == 0 for moment in moments)
    assert moments == sorted(moments)
    assert before < moments[0] < datetime.now(UTC) + SECOND


def test_ping_succeeds_while_the_store_is_available(store: TaskStore) -> None:
    store.ping()


def test_insert_and_get(store: TaskStore) -> None:
    task, other = make_task(), make_task()
    insert(store, task)
    assert store.get(task.id) == task
    assert store.get(other.id) is None


@pytest.mark.parametrize("task", [*STATES.values(), FULL_TASK], ids=[*STATES, "full"])
def test_every_state_is_stored_and_loaded_unchanged(store: TaskStore, task: Task) -> None:
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


def test_insert_all_skips_ids_that_are_taken(store: TaskStore) -> None:
    first, taken, last = make_task(), make_task(), make_task()
    insert(store, taken)
    others = [first, replace(taken, url="http://example.com/other"), last]
    assert store.insert_all(others) == {taken.id}
    assert [get(store, each) for each in others] == [first, taken, last]
    assert store.insert_all([make_task(), make_task()]) == set()


def test_insert_all_takes_the_first_of_two_tasks_with_one_id(store: TaskStore) -> None:
    first, other = make_task(), make_task()
    second = replace(first, url="http://example.com/other")
    assert store.insert_all([first, second, other]) == {first.id}
    assert store.get(first.id) == first
    assert store.get(other.id) == other


def test_save_writes_the_next_version(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    claimed = task.claimed(NOW, LEASE)
    assert store.save(claimed) == replace(claimed, version=2)
    assert get(store, task) == replace(claimed, version=2)


def test_save_removes_fields_that_are_empty_now(store: TaskStore) -> None:
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


def test_ended_finds_the_tasks_whose_computation_is_over(store: TaskStore) -> None:
    tasks = [replace(task, id=name) for name, task in STATES.items()]
    for task in tasks:
        insert(store, task)
    asked = [task for task in tasks if task.id != "done"]
    found = store.ended([task.id for task in asked] + ["unknown"])
    by_id = {task.id: task for task in found}
    assert len(by_id) == len(found)
    assert by_id == {task.id: task for task in asked if task.finished_at}
    assert "done, mail pending" in by_id
    assert store.ended([]) == []


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


def test_take_due_takes_the_longest_due_first(store: TaskStore) -> None:
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


def test_mark_dispatched_records_the_time_of_each_message(store: TaskStore) -> None:
    tasks_ = [make_task(), make_task("someone@example.com"), make_task()]
    for task in tasks_:
        insert(store, task)
    once = [task.dispatched(NOW) for task in tasks_]
    store.mark_dispatched([*once[:1], once[1].dispatched(NOW + SECOND)])
    assert get(store, tasks_[0]) == once[0]
    assert get(store, tasks_[1]) == once[1].dispatched(NOW + SECOND)
    assert get(store, tasks_[2]) == tasks_[2]
    assert store.save(tasks_[0].claimed(NOW, LEASE)) is not None  # a claim in flight wins


def test_mark_dispatched_leaves_tasks_that_have_changed(store: TaskStore) -> None:
    task = make_task()
    insert(store, task)
    claimed = save(store, task.claimed(NOW, LEASE))
    store.mark_dispatched([task.dispatched(NOW), make_task().dispatched(NOW)])
    assert get(store, task) == claimed


def test_mark_dispatched_accepts_an_empty_batch(store: TaskStore) -> None:
    store.mark_dispatched([])


def test_wake_unclaimed_makes_all_waiting_tasks_due(store: TaskStore) -> None:
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


def test_count_unfinished_leaves_out_settled_tasks(store: TaskStore) -> None:
    assert store.count_unfinished(100) == 0
    for state, task in STATES.items():
        insert(store, replace(task, id=state))
    assert store.count_unfinished(100) == sum(not task.is_settled for task in STATES.values())
    assert store.count_unfinished(2) == 2


def test_count_stored_counts_every_task(store: TaskStore) -> None:
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


def test_remove_settled_leaves_a_batch_that_is_being_submitted(store: TaskStore) -> None:
    settled = insert_settled(store, 3)
    soon = store.now() + timedelta(hours=1)
    hidden = replace(make_task(), wake_at=None, expires_at=soon)
    insert(store, hidden)
    assert store.remove_settled(100) == len(settled)
    assert get(store, hidden) == hidden


def test_remove_settled_by_several_at_once_removes_each_task_once(open_shared: Open) -> None:
    stores = [open_shared() for _ in range(4)]
    insert_settled(stores[0], 300)
    with ThreadPoolExecutor(4) as threads:
        removed = sum(threads.map(lambda store: store.remove_settled(50), stores))
    assert 50 <= removed <= 200
    assert stores[0].count_stored() == 300 - removed


def test_backlog_of_an_empty_store_is_zero(store: TaskStore) -> None:
    assert store.backlog(NOW) == BacklogStats(dict.fromkeys(Status, 0), 0, {}, None)


def test_backlog_counts_each_status(store: TaskStore) -> None:
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
    assert survey.oldest == {
        status: min(task.submitted_at for task in unsettled if task.status is status)
        for status in {task.status for task in unsettled}
    }
    assert survey.oldest[Status.QUEUED] == AGES_AGO


def test_backlog_reports_the_batch_that_has_been_idle_longest(store: TaskStore) -> None:
    batch = Batch(group="a group", total=2, is_expecting=False)
    waiting = Task.new("", NOW, batch=batch, active_at=NOW - SECOND)
    insert(store, replace(waiting, id="moved since", active_at=NOW))
    insert(store, waiting)
    done = waiting.claimed(NOW, LEASE).ended(Succeeded(tally=Tally()), NOW, retention=RETENTION)
    insert(store, replace(done, id="settled", active_at=NOW - HOUR))
    insert(store, replace(done, id="only its mail waits", active_at=NOW - HOUR, wake_at=NOW))
    insert(store, make_task())
    assert store.backlog(NOW).idle_since == NOW - SECOND


def test_disk_of_the_store_has_space(open_shared: Open) -> None:
    store = open_shared()
    insert(store, make_task())  # MongoDB makes a database for its first document
    space = store.disk_space()
    assert space is not None
    assert 0 < space.free < space.size


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


def test_retry_is_due_after_its_pause(store: TaskStore) -> None:
    running, failure = STATES["running"], STATES["retrying"].failure
    assert failure is not None
    insert(store, running)
    save(store, running.ended(RetryLater(PAUSE, failure), NOW, retention=RETENTION))
    assert store.take_due(NOW + PAUSE - SECOND, HOLD, 1) == []
    assert ids(store.take_due(NOW + PAUSE, HOLD, 1)) == [running.id]


NEWER: dict[str, dict[str, Any]] = {
    "another format": {"format": FORMAT + 1},
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
    assert store.ended([newer.id]) == []
    for kind in StepKind:
        assert store.claim(newer.id, kind, NOW, LEASE, "token") is None
    # Not even a whole batch of them holds up the others.
    assert [task.id for task in store.take_due(NOW, NOW + SECOND, 1)] == [known.id]

    change_document(store, newer, dict.fromkeys(fields))
    assert store.get(newer.id) == replace(newer, failure=None)
