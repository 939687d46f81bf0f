"""The step of a lane: it downloads the members of a batch with one host, one after the other.

A lane claims several members and writes several results at once if its downloads are short. It
gives its thread back after a while, so that batches and hosts take turns.
"""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.batch import Lane
from tasks.outcome import Failed, GivenBack, Outcome, RetryLater, Succeeded, Unfinished
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.task import Task
from telemetry import logs
from worker import metrics
from worker.leases import Claim, LeaseKeeper
from worker.pace import Pace
from worker.resources import Resources
from worker.retrying import until_available
from worker.steps import compute_md5

TURN_SECONDS = 1.0
# The results of these are written together, unless that would delay one of them for this long.
RESULT_SECONDS = 0.1
# How long a lane waits for members whose retry or whose host's rest is not over.
SHORTEST_PAUSE = timedelta(seconds=0.2)
LONGEST_PAUSE = timedelta(minutes=1)
BUSY_PAUSE = timedelta(seconds=5)  # while other lanes have the last members of the host


@dataclass(frozen=True, slots=True)
class RunLane:
    """What a lane needs: the same for every lane of a worker."""

    store: TaskStore
    leases: LeaseKeeper
    download: Callable[[Claim, Callable[[], bool]], Outcome]
    wake_batch: Callable[[str], None]
    pace: Pace
    retention: timedelta
    stopping: threading.Event

    def attempt(self, claim: Claim) -> Outcome:
        """Download members until the turn is over, or until none can be claimed."""
        lane = claim.task.lane
        assert lane is not None
        turn_end = time.monotonic() + TURN_SECONDS
        while not (self.stopping.is_set() or claim.is_lost):
            if time.monotonic() > turn_end:
                return Unfinished()
            members = self._claim(lane, self.pace.most_claimed(lane.host))
            if not members:
                return self._without_members(lane)
            self._run(claim, lane, members)
        return GivenBack()

    def _claim(self, lane: Lane, most: int) -> list[Task]:
        """Claim some members. Those of a claim whose answer got lost are found by the sweeper."""
        store, token = self.store, uuid.uuid4().hex

        def claim() -> list[Task]:
            now = store.now()
            return store.members.claim(lane, most, now=now, lease=self.leases.lease, token=token)

        return until_available(claim, self.stopping)

    def _run(self, lane_claim: Claim, lane: Lane, members: list[Task]) -> None:
        """Download members, one after the other, and record the pace.

        If they take longer than a turn, the rest is given back, also for other lanes.
        """

        def is_cancelled() -> bool:
            return lane_claim.is_lost or self.stopping.is_set()

        with ExitStack() as kept:
            claims = [kept.enter_context(self.leases.keep(member)) for member in members]
            for claim in claims:
                claim.wait()
            ended: list[tuple[Claim, Outcome]] = []
            began_at = written_at = time.monotonic()
            is_losing = False
            rest_until: datetime | None = None
            downloads, are_done = 0, True
            for number, claim in enumerate(claims, 1):
                if is_losing:  # the batch may be cancelled, and then this claim is lost as well
                    until_available(claim.renew, self.stopping)
                is_late = downloads > 0 and time.monotonic() - began_at > TURN_SECONDS
                if rest_until or is_late:
                    outcome: Outcome = GivenBack()
                else:
                    outcome = self._download(claim, is_cancelled)
                    downloads += 1
                    are_done = are_done and isinstance(outcome, Succeeded)
                if rest := _rest_after(outcome):
                    rest_until = until_available(self.store.now, self.stopping) + rest
                is_losing = is_losing or claim.is_lost
                ended.append((claim, outcome))
                is_time = time.monotonic() - written_at > RESULT_SECONDS
                if is_time or number == len(claims):
                    self._settle(lane, ended, rest_until)
                    ended, written_at = [], time.monotonic()
            seconds = (time.monotonic() - began_at) / downloads
            self.pace.record(lane.host, seconds, may_grow=are_done)

    def _download(self, claim: Claim, is_cancelled: Callable[[], bool]) -> Outcome:
        if is_cancelled() or claim.is_lost:
            return GivenBack()
        with logs.task_context(claim.task.id):
            claim.start()
            outcome = self.download(claim, is_cancelled)
            claim.stop()
        return outcome

    def _settle(
        self, lane: Lane, ended: list[tuple[Claim, Outcome]], rest_until: datetime | None
    ) -> None:
        """Write what members came to. The rest of a host applies to those given back as well."""
        settled = Claim.settle_all(ended, retention=self.retention, stopping=self.stopping)
        for (_, outcome), task in zip(ended, settled, strict=True):
            if task is not None:
                metrics.record_outcome(StepKind.COMPUTE_MD5, outcome)
        if rest_until:
            until_available(lambda: self.store.members.rest(lane, rest_until), self.stopping)

    def _without_members(self, lane: Lane) -> Outcome:
        """Return how the lane goes on: later, or not at all."""
        due_at = until_available(lambda: self.store.members.due_at(lane), self.stopping)
        if due_at is not None:
            pause = due_at - until_available(self.store.now, self.stopping)
            return Unfinished(min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))
        members = self.store.members
        # Another lane has the last members of the host. If its worker is lost, they wait again.
        if until_available(lambda: members.is_unfinished(lane.group, lane.host), self.stopping):
            return Unfinished(BUSY_PAUSE)
        if not until_available(lambda: members.is_unfinished(lane.group), self.stopping):
            self.wake_batch(lane.batch_id)
        return Succeeded()


def _rest_after(outcome: Outcome) -> timedelta | None:
    """Return for how long a host has asked to be left alone."""
    return outcome.rest if isinstance(outcome, RetryLater | Failed) else None


def build(resources: Resources) -> RunLane:
    """Return the step of this worker."""
    return RunLane(
        resources.store,
        resources.leases,
        compute_md5.build(resources).download,
        resources.wake_batch,
        Pace(),
        timedelta(seconds=resources.settings.retention),
        resources.stopping,
    )
