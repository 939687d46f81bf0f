"""Gauges that ask the store at a scrape: about tasks, batches, and the disk."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.deadlines import CHECK_SECONDS
from service.health import pings
from tasks.errors import StoreUnavailableError
from tasks.step import Status
from tasks.stores.contract import BacklogStats, DiskSpace, TaskStore
from telemetry.metrics import Row

# A report is valid for REPORT_SECONDS or REPORT_SHARE times its own duration, whichever is longer.
REPORT_SECONDS = 5.0
REPORT_SHARE = 20
CHECK_THREADS = 2
# A healthy sweeper takes a due task within seconds.
OVERDUE_AFTER = timedelta(seconds=5)

# While the store does not answer, only the first one is there.
STORE_UP = Row("md5_light_store_up", "Whether the store answers.")
TASKS = Row("md5_light_tasks", "Unfinished tasks: queued, running or mailing.", ("state",))
TASKS_OVERDUE = Row(
    "md5_light_tasks_overdue",
    "Tasks due for more than 5 s that have neither a message nor a worker.",
)
OLDEST_TASK_AGE = Row(
    "md5_light_oldest_task_age_seconds",
    "The age of the oldest unfinished task: queued, running or mailing.",
    ("state",),
)
BATCH_IDLE = Row(
    "md5_light_batch_idle_seconds",
    "How long a batch has neither downloaded nor finished a file. The longest counts.",
)
TASKS_STORED = Row("md5_light_tasks_stored", "Stored tasks, finished or not.")
TASKS_STORED_MAX = Row("md5_light_tasks_stored_max", "`MAX_STORED`. 0: no limit.")
DISK_FREE = Row("md5_light_disk_free_bytes", "Free bytes on the disk of the store.")
DISK_SIZE = Row("md5_light_disk_size_bytes", "Size of the disk of the store.")
ROWS = (
    STORE_UP,
    TASKS,
    TASKS_OVERDUE,
    OLDEST_TASK_AGE,
    BATCH_IDLE,
    TASKS_STORED,
    TASKS_STORED_MAX,
    DISK_FREE,
    DISK_SIZE,
)
# The statuses of unfinished tasks, by what the metrics call them.
STATES = {
    "queued": (Status.QUEUED,),
    "running": (Status.RUNNING,),
    "mailing": (Status.DONE, Status.FAILED),
}


@dataclass(frozen=True, slots=True)
class Report:
    """A report of the store. `at` is the time of the store."""

    at: datetime
    backlog: BacklogStats
    stored: int
    disk: DiskSpace | None

    @classmethod
    def of(cls, store: TaskStore) -> "Report":
        """Ask the store. Raises StoreUnavailableError."""
        now = store.now()
        return cls(
            now, store.backlog(now - OVERDUE_AFTER), store.count_stored(), store.disk_space()
        )

    def families(self, max_stored: int) -> Iterator[Metric]:
        """Return the metrics of this report."""
        tasks, ages = TASKS.family(), OLDEST_TASK_AGE.family()
        for state, statuses in STATES.items():
            tasks.add_metric([state], sum(self.backlog.by_status[each] for each in statuses))
            oldest = (self.backlog.oldest[each] for each in statuses if each in self.backlog.oldest)
            ages.add_metric([state], self._age(min(oldest, default=None)))
        yield tasks
        yield ages
        yield TASKS_OVERDUE.family(self.backlog.overdue)
        yield BATCH_IDLE.family(self._age(self.backlog.idle_since))
        yield TASKS_STORED.family(self.stored)
        yield TASKS_STORED_MAX.family(max_stored)
        if self.disk:
            yield DISK_FREE.family(self.disk.free)
            yield DISK_SIZE.family(self.disk.size)

    def _age(self, since: datetime | None) -> float:
        return (self.at - since).total_seconds() if since else 0.0


class StoreGauges(Collector):
    """The last report of the store. During an outage it yields only that the store is down."""

    def __init__(self, store: TaskStore, max_stored: int) -> None:
        self._store = store
        self._max_stored = max_stored
        self._threads = ThreadPoolExecutor(CHECK_THREADS, "gauges")
        self._asking = threading.Lock()
        self._ask_again_at = 0.0
        self._report: Report | None = None

    def close(self) -> None:
        self._threads.shutdown()

    def collect(self) -> Iterator[Metric]:
        """Ask the store. It takes seconds at most, whatever the store does."""
        is_up = self._answers_in_time(lambda: pings(self._store))
        yield STORE_UP.family(is_up)
        if is_up:
            # Counting very many tasks takes longer. This scrape then returns the previous report.
            self._answers_in_time(self._refresh)
        if is_up and self._report is not None:
            yield from self._report.families(self._max_stored)

    def _answers_in_time(self, check: Callable[[], bool]) -> bool:
        answer = self._threads.submit(check)
        try:
            return answer.result(CHECK_SECONDS)
        except TimeoutError:
            answer.cancel()  # if it has not begun
            return False

    def _refresh(self) -> bool:
        """Ask the store, unless the last report is recent or another scrape is asking."""
        if time.monotonic() < self._ask_again_at or not self._asking.acquire(blocking=False):
            return False
        try:
            began = time.monotonic()
            self._report = Report.of(self._store)
            ended = time.monotonic()
            self._ask_again_at = ended + max(REPORT_SECONDS, REPORT_SHARE * (ended - began))
        except StoreUnavailableError:  # an old report would hide what has changed since
            self._report, self._ask_again_at = None, time.monotonic() + REPORT_SECONDS
            return False
        finally:
            self._asking.release()
        return True
