"""The step of a lane: it downloads the members of a batch with one host, one after the other.

A lane claims several members and writes several results at once if its downloads are short. It
gives its thread back after a while, so that batches and hosts take turns.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

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
from worker.retrying import claim_members_until_available, until_available
from worker.steps import compute_md5

TURN_SECONDS = 1.0
# The results of these are written together, unless that would delay one of them for this long.
RESULT_SECONDS = 0.1
WRITERS = 4
# How long a lane waits for members whose retry or whose host's rest is not over.
SHORTEST_PAUSE = timedelta(seconds=0.2)
LONGEST_PAUSE = timedelta(minutes=1)
BUSY_PAUSE = timedelta(seconds=5)  # while other lanes have the last members of the host

# Takes a claim, whether to stop, and what to call when the host asks for a rest.
Download = Callable[[Claim, Callable[[], bool], Callable[[timedelta], None]], Outcome]


@dataclass(frozen=True, slots=True)
class RunLane:
    """What a lane needs: the same for every lane of a worker."""

    store: TaskStore
    leases: LeaseKeeper
    download: Download
    wake_batch: Callable[[str], None]
    relieve: Callable[[threading.Thread], None]
    pace: Pace
    retention: timedelta
    stopping: threading.Event
    # Threads that write during long downloads. They start when they are needed.
    writers: Executor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS, "results"))

    def attempt(self, claim: Claim) -> Outcome:
        """Download members until the turn is over, or until none can be claimed."""
        lane = claim.task.lane
        assert lane is not None
        turn_end = time.monotonic() + TURN_SECONDS
        while not (self.stopping.is_set() or claim.is_lost):
            if time.monotonic() > turn_end:
                return Unfinished()
            most = self.pace.most_claimed(lane.host)
            members = claim_members_until_available(
                self.store, lane, most, self.leases.lease, self.stopping
            )
            if not members:
                return self._without_members(lane)
            self._run(claim, lane, members)
        return GivenBack()

    def _run(self, lane_claim: Claim, lane: Lane, members: list[Task]) -> None:
        """Download members, one after the other, and record the pace."""
        with ExitStack() as kept:
            claims = [kept.enter_context(self.leases.keep(member)) for member in members]
            claimed = _ClaimedMembers(claims)
            downloads, are_done, is_losing = 0, True, False
            while claimed.waiting:
                claim = claimed.waiting.popleft()
                if is_losing:  # the batch may be cancelled, and then this claim is lost as well
                    until_available(claim.renew, self.stopping)
                outcome = self._download(claim, claimed, lane_claim)
                downloads += 1
                are_done = are_done and isinstance(outcome, Succeeded)
                is_losing = is_losing or claim.is_lost
                claimed.ended.append((claim, outcome))
                if rest := _rest_after(outcome):
                    self._leave_alone(lane, rest)
                if rest or claimed.is_turn_over:
                    claimed.give_back_waiting()
                if not claimed.waiting or claimed.is_time_to_write:
                    self._settle(claimed.take_ended())
            for write in claimed.writes:
                write.result()
            seconds = (time.monotonic() - claimed.claimed_at) / downloads
            self.pace.record(lane.host, seconds, may_grow=are_done)

    def _download(self, claim: Claim, claimed: "_ClaimedMembers", lane_claim: Claim) -> Outcome:
        """Download one member without holding up other members or lanes.

        However slow it is, a download asks several times a second whether it may go on. Other
        threads then write the results, so that an outage of the store does not stop it.
        """
        thread, lane = threading.current_thread(), lane_claim.task.lane
        assert lane is not None

        def is_cancelled() -> bool:
            return claim.is_lost or lane_claim.is_lost or self.stopping.is_set()

        def is_stopping() -> bool:
            if is_cancelled():
                return True
            if claimed.is_turn_over:
                claimed.give_back_waiting()
            if claim.seconds > TURN_SECONDS:
                self.relieve(thread)
            if claimed.ended and claimed.is_time_to_write:
                self._write_elsewhere(claimed, partial(self._settle, claimed.take_ended()))
            return False

        def leave_alone(rest: timedelta) -> None:
            self._write_elsewhere(claimed, partial(self._leave_alone, lane, rest))
            claimed.give_back_waiting()

        if is_cancelled():
            return GivenBack()
        with logs.task_context(claim.task.id):
            claim.start()
            outcome = self.download(claim, is_stopping, leave_alone)
            claim.stop()
        return outcome

    def _write_elsewhere(self, claimed: "_ClaimedMembers", write: Callable[[], None]) -> None:
        """Write in another thread, if one can be started."""
        is_begun = threading.Lock()

        def write_once() -> None:
            if is_begun.acquire(blocking=False):
                write()

        try:
            claimed.writes.append(self.writers.submit(write_once))
        except RuntimeError:  # no thread has started, but a later one may find this in the queue
            write_once()

    def _leave_alone(self, lane: Lane, rest: timedelta) -> None:
        """Let no lane claim a member of a host that has asked for a rest."""
        until = until_available(self.store.now, self.stopping) + rest
        until_available(lambda: self.store.members.rest(lane, until), self.stopping)

    def _settle(self, ended: list[tuple[Claim, Outcome]]) -> None:
        """Write the outcomes of members."""
        settled = Claim.settle_all(ended, retention=self.retention, stopping=self.stopping)
        for (_, outcome), task in zip(ended, settled, strict=True):
            if task is not None:
                metrics.record_outcome(StepKind.COMPUTE_MD5, outcome)

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


class _ClaimedMembers:
    """The members that a lane has claimed together, and that are not written yet."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            claim.wait()
        self.waiting = deque(claims)
        self.ended: list[tuple[Claim, Outcome]] = []
        self.writes: list[Future[None]] = []  # by other threads
        self.claimed_at = self._written_at = time.monotonic()

    @property
    def is_turn_over(self) -> bool:
        return time.monotonic() - self.claimed_at > TURN_SECONDS

    @property
    def is_time_to_write(self) -> bool:
        return time.monotonic() - self._written_at > RESULT_SECONDS

    def take_ended(self) -> list[tuple[Claim, Outcome]]:
        """Return those that are to be written now."""
        ended, self.ended = self.ended, []
        self._written_at = time.monotonic()
        return ended

    def give_back_waiting(self) -> None:
        """Leave the members that are not begun to the next claim of any lane."""
        self.ended.extend((claim, GivenBack()) for claim in self.waiting)
        self.waiting.clear()


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
        resources.relieve,
        Pace(),
        timedelta(seconds=resources.settings.retention),
        resources.stopping,
    )
