"""Lanes for unit tests of the step that runs them."""

import threading
from collections.abc import Callable
from datetime import timedelta

from tasks.outcome import GivenBack, Outcome, Succeeded
from tasks.step import StepKind
from tasks.task import Task
from tests.examples import DIGEST, LEASE, RETENTION
from tests.fakes import ScriptedStore
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
        self.leave_alone: Callable[[timedelta], None] = lambda _rest: None
        self.outcome: Callable[[Task], Outcome] = lambda _task: Succeeded(DIGEST)
        leases = LeaseKeeper(store, LEASE.total_seconds())
        self.runner = StepRunner(store, leases, RETENTION, stopping)
        self.pace = Pace()
        self.relieved: list[threading.Thread] = []
        self.step = RunLane(
            store,
            leases,
            self._download,
            self.woken.append,
            self.relieved.append,
            self.pace,
            RETENTION,
            stopping,
        )

    def claim_all_at_once(self) -> None:
        """Let the downloads so far have been so short that the next claim takes all members."""
        for _ in range(6):
            self.pace.record("a.example", seconds=0)

    def run(self, lane: Task) -> Task | None:
        return self.runner.run(lane.id, StepKind.RUN_LANE, self.step.attempt)

    def _download(
        self,
        claim: Claim,
        is_stopping: Callable[[], bool],
        leave_alone: Callable[[timedelta], None],
    ) -> Outcome:
        if is_stopping():
            return GivenBack()
        self.downloaded.append(claim.task.url)
        self.is_stopping, self.leave_alone = is_stopping, leave_alone
        self.during_download(claim)
        return self.outcome(claim.task)
