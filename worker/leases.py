"""Claims of this process: their leases are renewed by time, whatever the download is doing."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

from tasks.errors import StoreUnavailableError
from tasks.outcome import Outcome
from tasks.step import Step
from tasks.stores.contract import TaskStore
from tasks.task import Task
from telemetry import logs
from telemetry.heartbeat import Beat, no_beat
from worker import metrics
from worker.retrying import (
    find_saved,
    save_all_until_available,
    save_until_available,
    until_available,
)

# How often progress is written. A shorter lease is renewed three times in its length.
PROGRESS_SECONDS = 2.0
RETRY_SECONDS = 0.2  # after a renewal that failed, as the store may recover at any moment
RENEWED_AT_ONCE = 100  # claims in one write
LEASES = "leases"

_log = logging.getLogger(__name__)


class ClaimLostError(Exception):
    """Raised when this worker has lost its claim on a task."""


class Claim:
    """A step of a task that belongs to this worker until it is settled or lost."""

    def __init__(self, store: TaskStore, task: Task, lease: timedelta) -> None:
        self._store = store
        self._task = task
        self._lease = lease
        self._lock = threading.Lock()  # one writer at a time, or we would lose against ourselves
        self._is_settled = False
        self._doubtful: Task | None = None  # a renewal whose answer got lost: it may be written
        self._progress: tuple[int, int | None] | None = None
        self._began = self._renewed_at = time.monotonic()
        self._took: float | None = None
        self.is_lost = False

    @property
    def task(self) -> Task:
        return self._task

    @property
    def step(self) -> Step:
        """The step that is claimed."""
        step = self._task.claimed_step
        assert step is not None
        return step

    @property
    def seconds(self) -> float:
        """How long the attempt has taken."""
        return time.monotonic() - self._began if self._took is None else self._took

    def progress(self, done: int, total: int | None) -> None:
        """Remember how far the download is, in bytes, for the next renewal."""
        self._progress = done, total

    def renew(self) -> None:
        """Extend the lease and write the progress, unless the claim is settled."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if not self._is_settled and not self.is_lost:
                self._renew()
        finally:
            self._lock.release()

    def confirm(self) -> None:
        """Verify that this worker still has the task, for example after the process was frozen.

        Renews the lease if it is over, and otherwise does not ask the store. Raises ClaimLostError
        and StoreUnavailableError.
        """
        with self._lock:
            lease_end = self._task.wake_at
            assert lease_end is not None
            if not self.is_lost and self._store.now() >= lease_end:
                self._renew()
        if self.is_lost:
            raise ClaimLostError

    @staticmethod
    def renew_all(claims: Sequence["Claim"]) -> None:
        """Do as `renew` for several claims of one store, in one write."""
        with ExitStack() as locks:
            held = []
            for claim in claims:
                if claim._lock.acquire(blocking=False):  # noqa: SLF001  our own
                    locks.callback(claim._lock.release)  # noqa: SLF001  our own
                    held.append(claim)
            held = [each for each in held if not (each._is_settled or each.is_lost)]  # noqa: SLF001  our own
            if not held:
                return
            Claim._clear_doubts(held)
            renewed = [claim._renewed() for claim in held]  # noqa: SLF001  our own
            saved = held[0]._store.members.save_all(renewed)  # noqa: SLF001  our own
            for claim, task in zip(held, saved, strict=True):
                claim._take(task)  # noqa: SLF001  our own

    @staticmethod
    def _clear_doubts(claims: Sequence["Claim"]) -> None:
        """Do as `_clear_doubt` for several claims, by writing again what may be written already."""
        doubtful = {claim: claim._doubtful for claim in claims if claim._doubtful}  # noqa: SLF001  our own
        if not doubtful:
            return
        saved = claims[0]._store.members.save_all(list(doubtful.values()))  # noqa: SLF001  our own
        for claim, task in zip(doubtful, saved, strict=True):
            if task is None:
                claim._clear_doubt()  # noqa: SLF001  our own
            else:
                claim._task, claim._doubtful = task, None  # noqa: SLF001  our own

    def _renew(self) -> None:
        self._clear_doubt()
        self._take(self._store.save(self._renewed()))

    def _renewed(self) -> Task:
        """Return the task to save, which is in doubt until `_take` is called."""
        renewed = self._task.timed(self.seconds).renewed(self._store.now(), self._lease)
        if self._progress is not None:
            renewed = renewed.progressed(*self._progress)
        self._doubtful = renewed
        return renewed

    def is_older_than(self, seconds: float) -> bool:
        """Whether the lease began, or was renewed, more than that many seconds ago."""
        return time.monotonic() - self._renewed_at > seconds

    def _take(self, saved: Task | None) -> None:
        self._doubtful = None
        self._renewed_at = time.monotonic()
        if saved is None:
            self._lose()
        else:
            self._task = saved

    def _clear_doubt(self) -> None:
        if self._doubtful is not None:
            self._task = find_saved(self._store, self._doubtful) or self._task
            self._doubtful = None

    def wait(self) -> None:
        """Count no time until `start`: the task waits for its turn."""
        self._took = 0.0

    def start(self) -> None:
        """Let the time of the attempt begin now: the task has waited for its turn."""
        self._began, self._took = time.monotonic(), None

    def stop(self) -> None:
        """Let the time of the attempt end now: its outcome is written later."""
        self._took = self.seconds

    def settle(
        self, outcome: Outcome, *, retention: timedelta, stopping: threading.Event
    ) -> Task | None:
        """Write what the attempt came to, through an outage of the store.

        Returns the saved task, or None if the claim was lost: then nothing was written. Raises
        StoreUnavailableError if the worker stops while the store is unreachable.
        """
        with self._lock:
            self._is_settled = True
            if self.is_lost:
                return None
            now = until_available(self._store.now, stopping)
            ended = self._ended(outcome, now, retention, stopping)
            saved = save_until_available(self._store, ended, stopping)
            if saved is None:
                self._lose()
            return saved

    def _ended(
        self, outcome: Outcome, now: datetime, retention: timedelta, stopping: threading.Event
    ) -> Task:
        until_available(self._clear_doubt, stopping)
        return self._task.timed(self.seconds).ended(outcome, now, retention=retention)

    @staticmethod
    def settle_all(
        ended: Sequence[tuple["Claim", Outcome]],
        *,
        retention: timedelta,
        stopping: threading.Event,
    ) -> list[Task | None]:
        """Do as `settle` for several claims of one store, in one write."""
        with ExitStack() as locks:
            for claim, _ in ended:
                locks.enter_context(claim._lock)  # noqa: SLF001  our own
                claim._is_settled = True  # noqa: SLF001  our own
            held = [(claim, outcome) for claim, outcome in ended if not claim.is_lost]
            if not held:
                return [None] * len(ended)
            store = held[0][0]._store  # noqa: SLF001  our own
            now = until_available(store.now, stopping)
            changed = [claim._ended(outcome, now, retention, stopping) for claim, outcome in held]  # noqa: SLF001  our own
            saved = save_all_until_available(store, changed, stopping)
            for (claim, _), each in zip(held, saved, strict=True):
                if each is None:
                    claim._lose()  # noqa: SLF001  our own
            by_id = {each.id: each for each in saved if each}
            return [by_id.get(claim.task.id) for claim, _ in ended]

    def _lose(self) -> None:
        metrics.claims_lost.inc()
        with logs.task_context(self._task.id):
            _log.warning("the claim is lost, nothing is written")
        self.is_lost = True


class LeaseKeeper:
    """The thread that renews this process's leases."""

    def __init__(self, store: TaskStore, lease_seconds: float, beat: Beat = no_beat) -> None:
        self._store = store
        self._beat = beat
        self.lease = timedelta(seconds=lease_seconds)
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=LEASES, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    @contextmanager
    def keep(self, task: Task) -> Iterator[Claim]:
        """A claim on a task just claimed, whose lease is renewed inside the block."""
        claim = Claim(self._store, task, self.lease)
        with self._lock:
            self._claims.add(claim)
        try:
            yield claim
        finally:
            with self._lock:
                self._claims.discard(claim)

    def _run(self) -> None:
        interval = pause = min(PROGRESS_SECONDS, self.lease.total_seconds() / 3)
        while not self._stopped.wait(pause):
            pause = interval
            self._beat(LEASES)
            with self._lock:  # recent claims are mostly settled before the next round
                claims = [each for each in self._claims if each.is_older_than(interval / 4)]
            try:
                for first in range(0, len(claims), RENEWED_AT_ONCE):
                    self._beat(LEASES)
                    self._renew_all(claims[first : first + RENEWED_AT_ONCE])
            except StoreUnavailableError:  # the store has logged it
                pause = min(interval, RETRY_SECONDS)  # before a sweeper takes the leases

    def _renew_all(self, claims: Sequence[Claim]) -> None:
        """Renew claims together, or one by one if one of them spoils it for the others."""
        try:
            Claim.renew_all(claims)
        except StoreUnavailableError:
            raise
        except Exception:  # noqa: BLE001  the edge: the other claims must go on
            _log.exception("the leases cannot be renewed together, now they are renewed singly")
            for claim in claims:
                self._beat(LEASES)  # each write may wait for a slow store
                _renew_alone(claim)


def _renew_alone(claim: Claim) -> None:
    try:
        claim.renew()
    except StoreUnavailableError:
        raise
    except Exception:  # noqa: BLE001  the edge: the other claims must go on
        with logs.task_context(claim.task.id):
            _log.exception("the lease is not renewed")
