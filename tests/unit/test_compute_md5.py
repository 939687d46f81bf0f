"""One time budget bounds all attempts of a task."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fetch.errors import FetchError
from settings import Settings
from tasks.digests import Algorithm, Digest
from tasks.failure import FailureCode
from tasks.outcome import Failed, RetryLater, Succeeded
from tasks.step import Status, StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.examples import DIGEST, LEASE, NOW, RETENTION, insert, make_task
from worker.leases import Claim, LeaseKeeper
from worker.runner import StepRunner
from worker.steps.compute_md5 import ComputeMD5

BUDGET = 1000.0
BREAK = FetchError(FailureCode.INCOMPLETE_BODY, "The server closed the connection unexpectedly.")
DEADLINE = FetchError(
    FailureCode.DEADLINE, "The download took longer than 600 seconds.", is_permanent=True
)
TOGETHER = "The attempts took longer than 1000 seconds together."


class Clock:
    """The monotonic clock of claims, which a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("worker.leases.time.monotonic", made)
    return made


class Origin:
    """A fetch whose attempts take `seconds`, or what is left to them, and end with `error`."""

    def __init__(self, clock: Clock, seconds: float, error: FetchError | None) -> None:
        self.clock = clock
        self.seconds = seconds
        self.error = error
        self.allowed: list[float] = []

    def __call__(
        self,
        _url: str,
        _algorithms: Sequence[Algorithm],
        _progress: Callable[[int, int | None], None],
        _is_cancelled: Callable[[], bool],
        seconds_left: float,
        _on_break: Callable[[FetchError], None],
    ) -> Digest:
        self.allowed.append(seconds_left)
        self.clock.now += min(self.seconds, seconds_left)
        if seconds_left < self.seconds:
            raise DEADLINE
        if self.error is not None:
            raise self.error
        return DIGEST


def attempt(store: SQLiteStore, origin: Origin, settings: Settings, task: Task) -> Task | None:
    stopping = threading.Event()
    runner = StepRunner(store, LeaseKeeper(store, 30), RETENTION, stopping)
    step = ComputeMD5(origin, settings, stopping)
    return runner.run(task.id, StepKind.COMPUTE_MD5, step.attempt)


def compute(store: SQLiteStore, origin: Origin, **changes: object) -> Task:
    """Make attempts at one task until it has ended."""
    settings = replace(
        Settings(max_attempts=100, retry_base=0.001, download_budget=BUDGET),
        **changes,  # type: ignore[arg-type]
    )
    task = replace(make_task(now=store.now()), wake_at=store.now())
    insert(store, task)
    while True:
        ended = attempt(store, origin, settings, task)
        if ended is not None and ended.status is not Status.QUEUED:
            return ended


def test_budget_bounds_all_attempts(store: SQLiteStore, clock: Clock) -> None:
    origin = Origin(clock, 400, BREAK)
    task = compute(store, origin)
    assert task.failure is not None
    assert (task.failure.code, task.failure.message) == (FailureCode.DEADLINE, TOGETHER)
    assert origin.allowed == [1000, 600, 200]
    assert (task.attempt, task.seconds_used) == (3, 1000)


def test_attempt_that_ends_with_the_budget_is_the_last(store: SQLiteStore, clock: Clock) -> None:
    task = compute(store, Origin(clock, 500, BREAK))
    assert task.failure is not None
    assert (task.failure.message, task.attempt) == (TOGETHER, 2)


def test_budget_that_is_already_used(store: SQLiteStore, clock: Clock) -> None:
    """A lost worker leaves such a task. It is not asked for again."""
    origin = Origin(clock, 1, BREAK)
    task = replace(make_task(now=store.now()), seconds_used=BUDGET)
    insert(store, task)
    ended = attempt(store, origin, Settings(download_budget=BUDGET), task)
    assert ended is not None
    assert ended.failure is not None
    assert (ended.status, ended.failure.message) == (Status.FAILED, TOGETHER)
    assert origin.allowed == []


def test_digest_within_the_budget_counts(store: SQLiteStore, clock: Clock) -> None:
    assert compute(store, Origin(clock, BUDGET, None)).status is Status.DONE


@pytest.mark.parametrize("error", [BREAK, DEADLINE])
def test_other_failures_keep_their_message(
    error: FetchError, store: SQLiteStore, clock: Clock
) -> None:
    task = compute(store, Origin(clock, 100, error), max_attempts=2)
    assert task.failure == error.failure


def test_permanent_failure_is_not_hidden_by_the_budget(store: SQLiteStore, clock: Clock) -> None:
    error = FetchError(FailureCode.TOO_LARGE, "The file is larger.", is_permanent=True)
    assert compute(store, Origin(clock, BUDGET, error)).failure == error.failure


def test_budget_of_zero_bounds_nothing(store: SQLiteStore, clock: Clock) -> None:
    origin = Origin(clock, 10**6, BREAK)
    task = compute(store, origin, download_budget=0.0, max_attempts=3)
    assert task.failure == BREAK.failure
    assert origin.allowed == [math.inf] * 3


@pytest.mark.parametrize("max_attempts", [1, 5])
@pytest.mark.parametrize(
    ("status", "is_asked"), [(429, True), (503, True), (404, False), (500, False)]
)
def test_only_an_overloaded_server_asks_for_a_rest(
    status: int,
    is_asked: bool,  # noqa: FBT001
    max_attempts: int,
    store: SQLiteStore,
    clock: Clock,
) -> None:
    error = FetchError(FailureCode.HTTP_STATUS, "refused", http_status=status, retry_after=9)
    settings = Settings(max_attempts=max_attempts)
    task = make_task().claimed(NOW, LEASE)
    step = ComputeMD5(Origin(clock, 1, error), settings, threading.Event())
    outcome = step.attempt(Claim(store, task, LEASE))
    assert isinstance(outcome, RetryLater | Failed)
    assert outcome.rest == (timedelta(seconds=9) if is_asked else None)


def test_server_asks_for_a_rest_before_it_sends_the_rest_of_a_file(store: SQLiteStore) -> None:
    busy = FetchError(FailureCode.HTTP_STATUS, "refused", http_status=503, retry_after=9)
    broken = FetchError(FailureCode.CONNECT_ERROR, "broken")

    def fetch(*arguments: Any) -> Digest:
        *_, on_break = arguments
        for error in (broken, busy):
            on_break(error)
        return DIGEST

    rests: list[timedelta] = []
    task = make_task().claimed(NOW, LEASE)
    step = ComputeMD5(fetch, Settings(), threading.Event())
    outcome = step.download(Claim(store, task, LEASE), lambda: False, rests.append)
    assert outcome == Succeeded(DIGEST)
    assert rests == [timedelta(seconds=9)]


def test_a_server_asks_for_no_rest_of_the_host_that_redirected_to_it(
    store: SQLiteStore, clock: Clock
) -> None:
    error = FetchError(FailureCode.HTTP_STATUS, "refused", http_status=503, retry_after=9)
    error.is_of_other_host = True
    task = make_task().claimed(NOW, LEASE)
    step = ComputeMD5(Origin(clock, 1, error), Settings(), threading.Event())
    outcome = step.attempt(Claim(store, task, LEASE))
    assert isinstance(outcome, RetryLater)
    assert outcome.rest is None
    assert outcome.pause >= timedelta(seconds=9)
