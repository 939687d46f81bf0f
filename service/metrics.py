"""The metrics of the service, and its answer to Prometheus, for all of its processes."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config

from service.store_gauges import StoreGauges
from settings import Settings, SettingsError
from tasks.stores.open import open_store
from telemetry import logs
from telemetry.exporter import Exporter
from telemetry.metrics import Counter, Histogram
from worker import metrics as worker_metrics

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
    "service_unavailable",
    "store_unavailable",
    "too_large",
    "too_many_lists",
    "too_many_unfinished",
    "unauthorized",
    "unknown_parameter",
)
STATUSES = ("2xx", "3xx", "4xx", "5xx")
_REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

refusals = Counter(
    "md5_light_submissions_refused_total",
    "Submissions refused, by the code of the error.",
    ["reason"],
    series=[(reason,) for reason in REFUSALS],
)
connections_refused = Counter(
    "md5_light_connections_refused_total",
    "Connections refused because too many are open.",
)
request_seconds = Histogram(
    "md5_light_http_request_seconds",
    "From a request's headers to its response.",
    ["route", "status"],
    buckets=_REQUESTS,
)
# The service counts what its workers count as well, since they may be inside.
METRICS = (*worker_metrics.METRICS, refusals, connections_refused, request_seconds)


def begin_series(app: Sanic[Config, SimpleNamespace]) -> None:
    """Start the series of the routes that the app already has at 0."""
    for route in {"none", *(f"/{route.path}" for route in app.router.routes)}:
        for status in STATUSES:
            request_seconds.start_series(route, status)


@contextmanager
def serving(settings: Settings, exporter: Exporter) -> Iterator[None]:
    """Answer Prometheus on METRICS_PORT, if it is set, for all processes of the service.

    Raises SettingsError if it cannot listen there.
    """
    if not settings.metrics_port:
        yield
        return
    with (
        closing(open_store(settings)) as store,
        closing(StoreGauges(store, settings.max_stored)) as gauges,
    ):
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
