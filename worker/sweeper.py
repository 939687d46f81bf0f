"""The alarm clock: looks again at every task whose wake_at has passed, whatever the reason."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.outcome import Failed
from tasks.stores.contract import TaskStore
from tasks.task import Task
from telemetry import logs
from telemetry.heartbeat import Beat, no_beat
from worker import metrics
from worker.publisher import BATCH, Dispatcher
from worker.trimmer import Trimmer

INTERVAL_SECONDS = 1.0
POLL_SECONDS = 0.02
SWEEPER = "sweeper"
# How long the tasks of one round are held back from other sweepers, until they are dispatched.
HOLD = timedelta(seconds=10)
# How long a worker whose lease has expired may still renew it. After an outage of the store a
# living worker usually renews within a second, but it may notice the end later than the sweeper.
LAST_CALL_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Sweeper:
    """The loop that repairs everything: one in each worker process, any number in all."""

    def __init__(
        self,
        store: TaskStore,
        dispatcher: Dispatcher,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        beat: Beat = no_beat,
    ) -> None:
        """Sweep once `start` is called. `clock` measures outages, in seconds."""
        self._store = store
        self._clock = clock
        self._beat = beat
        self._dispatcher = dispatcher
        self._trimmer = Trimmer(store, settings.max_stored)
        self._max_attempts = settings.max_attempts
        self._retention = timedelta(seconds=settings.retention)
        self._lease_seconds = settings.lease
        self._hold = min(HOLD, timedelta(seconds=settings.lease))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=SWEEPER, daemon=True)
        self._last_dispatched = 0
        self._swept_at = -math.inf
        self._grace_until = -math.inf
        # An in-process broker begins with no messages, whatever was dispatched before.
        self._has_to_wake_all = settings.rabbitmq_url is None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        if self._has_to_wake_all:  # before this process has sent messages of its own
            self._sweep_all()
        # A jitter keeps the sweepers of many processes from asking all at once.
        while not self._stopped.wait(INTERVAL_SECONDS * random.uniform(0.75, 1.25)):  # noqa: S311
            self._sweep_all()

    def _sweep_all(self) -> None:
        try:
            while self.sweep() == BATCH and not self._stopped.is_set():
                self._wait_for_dispatcher()
            self._trimmer.trim()
        except StoreUnavailableError:
            pass  # the store has logged it
        except Exception:  # noqa: BLE001  the edge: the loop must go on
            _log.exception("a sweep failed; the next one follows")

    def _wait_for_dispatcher(self) -> None:
        """There are more tasks due than it takes at once: give it a moment to publish these."""
        end = time.monotonic() + INTERVAL_SECONDS
        while not self._dispatcher.has_handled(self._last_dispatched) and time.monotonic() < end:
            self._stopped.wait(POLL_SECONDS)

    def sweep(self) -> int:
        """Look once at the tasks that are due; returns how many there were."""
        self._beat(SWEEPER)
        if not self._dispatcher.has_handled(self._last_dispatched):
            self._store.ping()
            self._note_outage()
            return 0
        # While the broker is down, one task is enough to see whether it has recovered.
        limit = 1 if self._dispatcher.is_broker_down else BATCH
        now = self._store.now()
        if self._has_to_wake_all:
            self._store.wake_unclaimed(now)
            self._has_to_wake_all = False
        try:
            due = self._store.take_due(now, now + self._hold, limit)
        except StoreUnavailableError:
            self._swept_at = -math.inf  # a store may read and not write: then this is its outage
            raise
        self._note_outage()
        waiting = [task for task in due if task.next_step is not None]
        metrics.repairs.inc("message", amount=sum(task.retry_at is None for task in waiting))
        self._last_dispatched = self._dispatcher.dispatch(waiting)
        self._take_from_lost_workers([task for task in due if task.claimed_step is not None])
        return len(due)

    def _note_outage(self) -> None:
        """Begin the grace of living workers if the store may have been out of reach.

        A sweeper that has just been started cannot know, so it assumes an outage.
        """
        now = self._clock()
        if now - self._swept_at > max(self._lease_seconds / 2, 2 * INTERVAL_SECONDS):
            self._grace_until = now + self._hold.total_seconds()
        self._swept_at = now

    def _take_from_lost_workers(self, expired: Sequence[Task]) -> None:
        if not expired or self._clock() < self._grace_until:
            return
        if self._stopped.wait(LAST_CALL_SECONDS):
            return
        taken = [self._take(task) for task in expired]
        self._last_dispatched = self._dispatcher.dispatch(task for task in taken if task)

    def _take(self, task: Task) -> Task | None:
        """Return the task to dispatch, or None if its worker has renewed the lease since then."""
        self._beat(SWEEPER)  # each write may wait for a slow store
        step = task.claimed_step
        assert step is not None
        lost = task.lost(
            self._store.now(), max_attempts=self._max_attempts, retention=self._retention
        )
        now_at = lost.step(step.kind)
        assert now_at is not None
        saved = self._store.save(lost)
        if saved is None:
            return None
        with logs.task_context(task.id):
            _log.warning(
                "lease of %s expired in attempt %d, now %s", step.kind, step.attempt, now_at.name
            )
        metrics.repairs.inc("lease")
        if now_at.state.is_over:
            metrics.record_outcome(step.kind, Failed(saved.failure))
        return saved
