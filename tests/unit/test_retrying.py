import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.errors import IllegalTransitionError, StoreUnavailableError
from tasks.outcome import RetryLater, Succeeded
from tasks.step import StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.batches import store_batch
from tests.examples import DIGEST, LEASE, NOW, RETENTION, insert, make_task
from tests.fakes import ScriptedStore
from worker.retrying import (
    claim_members_until_available,
    claim_until_available,
    save_until_available,
    until_available,
)


@pytest.fixture
def task(store: ScriptedStore) -> Task:
    made = make_task()
    insert(store, made)
    return made


def test_outlasts_an_outage(store: ScriptedStore, task: Task, stopping: threading.Event) -> None:
    store.fail(times=3)
    assert until_available(lambda: store.get(task.id), stopping) == task


def test_gives_up_when_stopping(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    stopping.set()
    fault = store.fail(times=1000)
    with pytest.raises(StoreUnavailableError):
        until_available(lambda: store.get(task.id), stopping)
    assert fault.times == 999


def test_a_stop_ends_the_pause(store: ScriptedStore, task: Task, stopping: threading.Event) -> None:
    store.fail(times=1000, before=stopping.set)
    with pytest.raises(StoreUnavailableError):
        until_available(lambda: store.get(task.id), stopping)


def test_works_while_stopping(store: ScriptedStore, task: Task, stopping: threading.Event) -> None:
    stopping.set()
    assert until_available(lambda: store.get(task.id), stopping) == task


def test_other_errors_pass(store: ScriptedStore, task: Task, stopping: threading.Event) -> None:
    with pytest.raises(IllegalTransitionError):
        until_available(lambda: store.save(task.renewed(NOW, LEASE)), stopping)


def test_save_outlasts_an_outage(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    store.fail(times=2)
    saved = save_until_available(store, task.claimed(NOW, LEASE), stopping)
    assert saved == replace(task.claimed(NOW, LEASE), version=2)
    assert store.get(task.id) == saved


def test_save_recognises_its_own_write(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    claimed = store.save(task.claimed(NOW, LEASE))
    assert claimed is not None
    store.fail(is_written=True)
    done = claimed.ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    saved = save_until_available(store, done, stopping)
    assert saved == replace(done, version=3)
    assert store.get(task.id) == saved


def test_save_recognises_its_own_write_after_a_dispatch(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    running = make_task("someone@example.com").claimed(NOW, LEASE)
    insert(store, running)
    done = running.ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    written = replace(done, version=2)

    def sweep() -> None:
        assert len(store.take_due(NOW + 2 * LEASE, NOW + 3 * LEASE, 1)) == 1
        store.mark_dispatched([written.dispatched(NOW)])

    store.fail(is_written=True, before=sweep)
    assert save_until_available(store, done, stopping) == written


def test_save_loses_against_another_change(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    other = store.save(task.claimed(NOW, LEASE))
    assert save_until_available(store, task.claimed(NOW, LEASE), stopping) is None
    assert len(store.calls("save")) == 2
    assert store.get(task.id) == other


def test_save_does_not_take_another_change_for_its_own(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    running = store.save(task.claimed(NOW, LEASE))
    assert running is not None
    store.fail(times=1, before=lambda: SQLiteStore.save(store, running.released(NOW)))
    done = running.ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    assert save_until_available(store, done, stopping) is None
    found = store.get(task.id)
    assert found is not None
    assert found.digest is None


def test_claim_outlasts_an_outage(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    store.fail(times=2)
    claimed = claim_until_available(store, task.id, StepKind.COMPUTE_MD5, LEASE, stopping)
    assert claimed is not None
    assert claimed == store.get(task.id)


def test_claim_recognises_its_own(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    store.fail(is_written=True)
    claimed = claim_until_available(store, task.id, StepKind.COMPUTE_MD5, LEASE, stopping)
    assert claimed is not None
    assert claimed == store.get(task.id)


def test_claim_does_not_take_another_one_for_its_own(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    store.fail(times=1, before=lambda: SQLiteStore.save(store, task.claimed(NOW, LEASE, "theirs")))
    assert claim_until_available(store, task.id, StepKind.COMPUTE_MD5, LEASE, stopping) is None


def test_claim_of_members_recognises_its_own(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    """Another one would leave these members to the end of their leases."""
    stored = store_batch(store, [f"http://a.example/{number}" for number in range(5)])
    lane = stored.lane_of("a.example")
    store.fail("claim_members", is_written=True)
    claimed = claim_members_until_available(store, lane, 2, LEASE, stopping)
    assert claimed == [store.get(member.id) for member in stored.members[:2]]


def test_saved_pause_is_recognised(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    running = store.save(task.claimed(NOW, LEASE))
    assert running is not None
    pause = timedelta(seconds=5.1234567)  # longer than whole milliseconds by a little
    paused = running.ended(RetryLater(pause), NOW, retention=RETENTION)
    store.fail(is_written=True)
    assert save_until_available(store, paused, stopping) == store.get(task.id)


def test_claim_lost_before_its_answer_is_not_ours(
    store: ScriptedStore, task: Task, stopping: threading.Event
) -> None:
    def lose() -> None:
        claimed = SQLiteStore.get(store, task.id)
        assert claimed is not None
        lost = claimed.lost(NOW, max_attempts=5, retention=RETENTION)
        SQLiteStore.save(store, replace(lost, retry_at=store.now() + LEASE))

    store.fail(is_written=True, before=lose)
    assert claim_until_available(store, task.id, StepKind.COMPUTE_MD5, LEASE, stopping) is None
