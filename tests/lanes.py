"""Lanes for unit tests of the step that runs them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tasks.outcome import GivenBack, Outcome, Succeeded
from tasks.step import StepKind
from tasks.task import Task
from tests.examples import DIGEST, LANE, LEASE, NOW, RETENTION
from tests.fakes import ScriptedStore
from worker.fast_threads import FastThreads
from worker.leases import Claim, LeaseKeeper
from worker.pace import Pace
from worker.runner import StepRunner
from worker.steps.run_lane import RunLane


class Lanes:
    """Runs lanes whose downloads end as a test says."""

    def __init__(self, store: ScriptedStore, stopping: threading.Event) -> None:
        self.store = store
        self.stopping = stopping
        self.downloaded: list[str] = []
        self.woken: list[str] = []
        self.during_download: Callable[[Claim], object] = lambda _claim: None
        self.is_stopping: Callable[[], bool] = lambda: False
        self.outcome: Callable[[Task], Outcome] = lambda _task: Succeeded(DIGEST)
        leases = LeaseKeeper(store, LEASE.total_seconds())
        self.runner = StepRunner(store, leases, RETENTION, stopping)
        self.pace = Pace()
        self.fast_threads = FastThreads(2)
        self.step = RunLane(
            store,
            leases,
            self._download,
            self.woken.append,
            self.fast_threads,
            self.pace,
            RETENTION,
            stopping,
        )

    def claim_all_at_once(self) -> None:
        """Let the downloads so far have been so short that the next claim takes all members."""
        for _ in range(6):
            self.pace.record("a.example", seconds=0)

    @contextmanager
    def fast_threads_taken(self, count: int) -> Iterator[None]:
        """Other lanes have these threads, of which there are two."""
        with ExitStack() as taken:
            for _ in range(count):
                other = Claim(self.store, LANE.claimed(NOW, LEASE), LEASE)
                taken.enter_context(self.fast_threads.taken_by(other))
            yield

    def of_speed(self, lane: Task, *, is_fast: bool) -> Task:
        """Return a lane like this one."""
        assert lane.lane is not None
        other = replace(lane, id="other", lane=replace(lane.lane, is_fast=is_fast))
        self.store.insert_all([other])
        return other

    def run(self, lane: Task) -> Task | None:
        return self.runner.run(lane.id, StepKind.RUN_LANE, self.step.attempt)

    def _download(self, claim: Claim, is_stopping: Callable[[], bool]) -> Outcome:
        if is_stopping():
            return GivenBack()
        self.downloaded.append(claim.task.url)
        self.is_stopping = is_stopping
        self.during_download(claim)
        return self.outcome(claim.task)
