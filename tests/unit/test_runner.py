import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.outcome import GivenBack, Outcome, RetryLater, Succeeded
from tasks.step import StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.examples import BATCH, DIGEST, LANE, NOW, PAUSE, RETENTION, STATES, insert
from worker.leases import Claim, LeaseKeeper
from worker.runner import StepRunner

DUE = {
    StepKind.COMPUTE_MD5: STATES["queued"],
    StepKind.RUN_BATCH: BATCH,
    StepKind.RUN_LANE: LANE,
    StepKind.SEND_EMAIL: STATES["done, mail pending"],
}
PAUSING = {
    StepKind.COMPUTE_MD5: STATES["retrying"],
    StepKind.RUN_BATCH: BATCH,
    StepKind.RUN_LANE: LANE,
    StepKind.SEND_EMAIL: STATES["done, mail sending"].ended(
        RetryLater(PAUSE), NOW, retention=RETENTION
    ),
}


@pytest.fixture
def runner(store: SQLiteStore) -> StepRunner:
    return StepRunner(store, LeaseKeeper(store, 30), RETENTION, threading.Event())


def insert_copy(store: SQLiteStore, task: Task) -> str:
    """Insert a copy of an example under an id of its own."""
    copy = replace(task, id=str(uuid.uuid4()))
    insert(store, copy)
    return copy.id


def refuse(_claim: Claim) -> Outcome:
    raise AssertionError("no attempt is to be made")


@pytest.mark.parametrize("kind", StepKind)
def test_run_claims_attempts_and_settles(
    store: SQLiteStore, runner: StepRunner, kind: StepKind
) -> None:
    task_id = insert_copy(store, DUE[kind])
    outcome = Succeeded(DIGEST if kind is StepKind.COMPUTE_MD5 else None)

    def attempt(claim: Claim) -> Outcome:
        assert (claim.step.kind, claim.step.attempt) == (kind, 1)
        assert store.get(task_id) == claim.task
        return outcome

    settled = runner.run(task_id, kind, attempt)

    assert settled is not None
    assert settled == store.get(task_id)
    step = settled.step(kind)
    assert step is not None
    assert step.state.is_over
    assert settled.digest == (None if kind in (StepKind.RUN_BATCH, StepKind.RUN_LANE) else DIGEST)


@pytest.mark.parametrize("kind", StepKind)
def test_attempt_given_back_is_due_and_does_not_count(
    store: SQLiteStore, runner: StepRunner, kind: StepKind
) -> None:
    released = runner.run(insert_copy(store, DUE[kind]), kind, lambda _claim: GivenBack())
    assert released is not None
    assert released.next_step is kind
    assert released.steps == DUE[kind].steps
    assert released.wake_at is not None
    assert released.wake_at <= store.now()


@pytest.mark.parametrize("kind", StepKind)
def test_run_leaves_a_task_whose_step_is_another_one(
    store: SQLiteStore, runner: StepRunner, kind: StepKind
) -> None:
    for task in STATES.values():
        if task.next_step is not kind:
            assert runner.run(insert_copy(store, task), kind, refuse) is None
    assert runner.run("unknown", kind, refuse) is None


@pytest.mark.parametrize("kind", StepKind)
def test_run_does_not_cut_a_pause_short(
    store: SQLiteStore, runner: StepRunner, kind: StepKind
) -> None:
    ahead = store.now() + timedelta(hours=1)
    task_id = insert_copy(store, replace(PAUSING[kind], wake_at=ahead, retry_at=ahead))
    before = store.get(task_id)

    assert runner.run(task_id, kind, refuse) is None
    assert store.get(task_id) == before


@pytest.mark.parametrize("kind", StepKind)
def test_run_gives_a_task_back_while_the_worker_stops(
    store: SQLiteStore, runner: StepRunner, kind: StepKind
) -> None:
    task_id = insert_copy(store, DUE[kind])
    runner.stopping.set()

    released = runner.run(task_id, kind, refuse)

    assert released is not None
    assert released.wake_at is not None
    assert released.wake_at <= store.now()
    assert released.next_step is kind
