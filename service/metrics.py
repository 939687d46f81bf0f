"""GET /metrics: what all processes of the service have counted, and what the store says."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sanic import HTTPResponse, Request

import logs
from actors import metrics
from tasks.errors import StoreUnavailableError
from tasks.store import TaskStore, Unsettled
from tasks.task import Status

# A survey is good for some seconds, or for twenty times as long as it took.
SURVEY_SECONDS = 5.0
SURVEY_SHARE = 20
STORE_SECONDS = 2.0  # how long a scrape waits for the store


class StoreGauges(Collector):
    """The unsettled tasks, as the store last told of them; while it is away, only that it is."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._asking = threading.Lock()
        self._ask_again_at = 0.0
        self._survey: Unsettled | None = None
        self._age = 0.0

    def refresh(self) -> None:
        """Ask the store, unless what it said is still good or somebody is asking."""
        if time.monotonic() < self._ask_again_at or not self._asking.acquire(blocking=False):
            return
        try:
            began = time.monotonic()
            now = self._store.now()
            survey = self._store.survey(now)
            self._age = (now - survey.oldest).total_seconds() if survey.oldest else 0.0
            self._survey = survey
            ended = time.monotonic()
            self._ask_again_at = ended + max(SURVEY_SECONDS, SURVEY_SHARE * (ended - began))
        except StoreUnavailableError:
            self._survey = None
        finally:
            self._asking.release()

    def forget(self) -> None:
        """The store does not answer in time."""
        self._survey = None

    def collect(self) -> Iterator[Metric]:
        survey = self._survey
        up = GaugeMetricFamily("md5_light_store_up", "Whether the store answers.")
        up.add_metric([], survey is not None)
        yield up
        if survey is None:
            return
        tasks = GaugeMetricFamily(
            "md5_light_tasks", "Tasks that are not settled, by state.", labels=["state"]
        )
        mailing = survey.by_status[Status.DONE] + survey.by_status[Status.FAILED]
        tasks.add_metric(["queued"], survey.by_status[Status.QUEUED])
        tasks.add_metric(["running"], survey.by_status[Status.RUNNING])
        tasks.add_metric(["mailing"], mailing)
        yield tasks
        yield GaugeMetricFamily(
            "md5_light_tasks_overdue", "Those whose wake_at has passed.", survey.overdue
        )
        yield GaugeMetricFamily(
            "md5_light_oldest_task_age_seconds", "Of the oldest that is not settled.", self._age
        )


async def expose(request: Request) -> HTTPResponse:
    """GET /metrics, in Prometheus's text format."""
    gauges: StoreGauges = request.app.ctx.store_gauges
    threads = request.app.ctx.check_threads
    refresh = asyncio.get_running_loop().run_in_executor(threads, gauges.refresh)
    try:
        await asyncio.wait_for(asyncio.shield(refresh), STORE_SECONDS)
    except TimeoutError:
        gauges.forget()
    body = await asyncio.to_thread(metrics.render, gauges)
    return HTTPResponse(body, content_type=CONTENT_TYPE_LATEST)


async def begin(request: Request) -> None:
    """A request has come in."""
    request.ctx.began = time.perf_counter()
    logs.current_task.set(None)  # a connection's next request is about another one


async def end(request: Request, response: HTTPResponse) -> None:
    """It is answered."""
    route = f"/{request.route.path}" if request.route else "none"
    seconds = time.perf_counter() - getattr(request.ctx, "began", time.perf_counter())
    metrics.request_seconds.labels(route, f"{response.status // 100}xx").observe(seconds)
    if route == "/submit" and response.status >= HTTPStatus.BAD_REQUEST and response.body:
        metrics.refusals.labels(json.loads(response.body)["error"]["code"]).inc()
