"""What all processes of the service have counted, and what the store says, for Prometheus."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from types import SimpleNamespace

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config

from service.deadlines import CHECK_SECONDS
from service.health import pings
from settings import Settings, SettingsError
from tasks.errors import StoreUnavailableError
from tasks.step import Status
from tasks.stores.contract import BacklogStats, TaskStore
from tasks.stores.open import open_store
from telemetry import logs
from telemetry.exporter import Exporter
from telemetry.metrics import Counter, Histogram, Row
from worker import metrics as worker_metrics

# Stats are valid for some seconds, or for twenty times as long as they took.
STATS_SECONDS = 5.0
STATS_SHARE = 20
CHECK_THREADS = 2
# A healthy sweeper takes a due task within seconds.
OVERDUE_AFTER = timedelta(seconds=5)

# The codes with which /submit refuses, and what a dashboard may ask for of each route.
REFUSALS = (
    "bad_request",
    "cancelled",
    "idempotency_key_reused",
    "internal_error",
    "invalid_body",
    "invalid_parameter",
    "missing_parameter",
    "newer_version",
    "rate_limited",
    "repeated_parameter",
    "request_timeout",
    "store_unavailable",
    "too_large",
    "too_many_unfinished",
    "unauthorized",
    "unknown_parameter",
)
STATUSES = ("2xx", "4xx", "5xx")
_REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

refusals = Counter(
    "md5_light_submissions_refused_total",
    "Submissions refused, by the code of the error.",
    ["reason"],
    series=[(reason,) for reason in REFUSALS],
    alert="`too_many_unfinished`",
)
connections_refused = Counter(
    "md5_light_connections_refused_total",
    "Connections refused because too many are open.",
    alert="any, if your clients are honest",
)
request_seconds = Histogram(
    "md5_light_http_request_seconds",
    "From a request's headers to its response.",
    ["route", "status"],
    buckets=_REQUESTS,
    alert="p99, and any `5xx`",
)
# What the store is asked at a scrape. While it does not answer, only the first one is there.
STORE_UP = Row("md5_light_store_up", "Whether the store answers.", alert="0 for a minute")
TASKS = Row("md5_light_tasks", "Unfinished tasks: queued, running or mailing.", ("state",))
TASKS_OVERDUE = Row(
    "md5_light_tasks_overdue",
    "Tasks due for more than 5 s that have neither a message nor a worker.",
    alert="> 0 for 5 minutes: the broker is unreachable, or no worker runs",
)
OLDEST_TASK_AGE = Row(
    "md5_light_oldest_task_age_seconds",
    "The age of the oldest unfinished task.",
    alert="more than a day, unless its mail waits",
)
STORE_ROWS = (STORE_UP, TASKS, TASKS_OVERDUE, OLDEST_TASK_AGE)
# The service counts what its workers count as well, since they may be inside.
METRICS = (*worker_metrics.METRICS, refusals, connections_refused, request_seconds)


def begin_series(app: Sanic[Config, SimpleNamespace]) -> None:
    """Start the series of the routes that the app already has at 0."""
    for route in {"none", *(f"/{route.path}" for route in app.router.routes)}:
        for status in STATUSES:
            request_seconds.start_series(route, status)


class StoreGauges(Collector):
    """The unsettled tasks, as the store last counted them; during its outage, only that it is."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(CHECK_THREADS, "gauges")
        self._asking = threading.Lock()
        self._ask_again_at = 0.0
        self._stats: BacklogStats | None = None
        self._age = 0.0

    def close(self) -> None:
        self._threads.shutdown()

    def collect(self) -> Iterator[Metric]:
        """Ask the store. It takes seconds at most, whatever the store does."""
        is_up = self._answers_in_time(lambda: pings(self._store))
        yield STORE_UP.family(is_up)
        if is_up:
            # Counting very many tasks takes longer: then this scrape has the stats before it.
            self._answers_in_time(self._refresh)
        stats = self._stats
        if stats is None or not is_up:
            return
        tasks = TASKS.family()
        mailing = stats.by_status[Status.DONE] + stats.by_status[Status.FAILED]
        tasks.add_metric(["queued"], stats.by_status[Status.QUEUED])
        tasks.add_metric(["running"], stats.by_status[Status.RUNNING])
        tasks.add_metric(["mailing"], mailing)
        yield tasks
        yield TASKS_OVERDUE.family(stats.overdue)
        yield OLDEST_TASK_AGE.family(self._age)

    def _answers_in_time(self, check: Callable[[], bool]) -> bool:
        answer = self._threads.submit(check)
        try:
            return answer.result(CHECK_SECONDS)
        except TimeoutError:
            answer.cancel()  # if it has not begun
            return False

    def _refresh(self) -> bool:
        """Ask the store, unless the last stats are recent or another scrape is asking."""
        if time.monotonic() < self._ask_again_at or not self._asking.acquire(blocking=False):
            return False
        try:
            began = time.monotonic()
            now = self._store.now()
            stats = self._store.backlog(now - OVERDUE_AFTER)
            self._age = (now - stats.oldest).total_seconds() if stats.oldest else 0.0
            self._stats = stats
            ended = time.monotonic()
            self._ask_again_at = ended + max(STATS_SECONDS, STATS_SHARE * (ended - began))
        except StoreUnavailableError:
            return False
        finally:
            self._asking.release()
        return True


@contextmanager
def serving(settings: Settings, exporter: Exporter) -> Iterator[None]:
    """Answer Prometheus on METRICS_PORT, if it is set, for all processes of the service.

    Raises SettingsError if it cannot listen there.
    """
    if not settings.metrics_port:
        yield
        return
    with closing(open_store(settings)) as store, closing(StoreGauges(store)) as gauges:
        try:
            server = exporter.serve(settings.host, settings.metrics_port, gauges)
        except OSError as error:
            where = f"{settings.host}, port {settings.metrics_port}"
            raise SettingsError(
                f"METRICS_PORT: cannot listen on {where}: {error.strerror}"
            ) from None
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


async def get_metrics(request: Request) -> HTTPResponse:
    """GET /metrics, in Prometheus's text format."""
    ctx = request.app.ctx
    body = await asyncio.to_thread(ctx.exporter.render, ctx.store_gauges)
    return HTTPResponse(body, content_type=CONTENT_TYPE_LATEST)


async def start_timer(request: Request) -> None:
    """Note when a request arrived."""
    request.ctx.began = time.perf_counter()
    logs.current_task.set(None)  # a connection's next request is about another one


async def record_request(request: Request, response: HTTPResponse) -> None:
    """Measure a request that is answered, and count a refused submission."""
    route = f"/{request.route.path}" if request.route else "none"
    seconds = time.perf_counter() - getattr(request.ctx, "began", time.perf_counter())
    request_seconds.observe(seconds, route, f"{response.status // 100}xx")
    code = getattr(request.ctx, "error_code", None)
    if code and request.route and getattr(request.route.ctx, "counts_refusals", False):
        refusals.inc(code)
