"""Runs a step: claims it, makes the attempt, and settles what the attempt came to."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from tasks.errors import NewerTaskError
from tasks.outcome import Outcome
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.task import Task
from worker import metrics
from worker.leases import Claim, LeaseKeeper
from worker.retrying import claim_until_available

Attempt = Callable[[Claim], Outcome]


@dataclass(frozen=True, slots=True)
class StepRunner:
    """What is the same for every step of a worker."""

    store: TaskStore
    leases: LeaseKeeper
    retention: timedelta
    stopping: threading.Event

    def run(self, task_id: str, kind: StepKind, attempt: Attempt) -> Task | None:
        """Make one attempt at a task's step. A worker that stops gives the task back.

        Returns the task as it was left, or None if it was another worker's, or not yet due. Raises
        StoreUnavailableError if the worker stops while the store is unreachable.
        """
        if self.stopping.is_set():
            return self._give_back(task_id, kind)
        task = claim_until_available(self.store, task_id, kind, self.leases.lease, self.stopping)
        if task is None:
            return None
        self._record_wait(task, kind)
        with self.leases.keep(task) as claim:
            outcome = attempt(claim)
            settled = claim.settle(outcome, retention=self.retention, stopping=self.stopping)
        if settled is not None:
            metrics.record_outcome(kind, outcome)
        return settled

    def _give_back(self, task_id: str, kind: StepKind) -> Task | None:
        """Let another worker have a task whose message arrived while this one was stopping."""
        try:
            task = self.store.get(task_id)
        except NewerTaskError:
            return None
        now = self.store.now()
        if task is None or task.next_step is not kind or task.is_pausing(now):
            return None
        return self.store.save(task.released(now))

    def _record_wait(self, task: Task, kind: StepKind) -> None:
        if kind is StepKind.COMPUTE_MD5 and task.attempt == 1 and task.wake_at is not None:
            waited = task.wake_at - self.leases.lease - task.submitted_at
            metrics.queue_wait.observe(waited.total_seconds())
