"""Wires the service together."""

import gc
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dramatiq
from sanic import Request, Sanic
from sanic.config import Config
from sanic_routing import Route

from service import cors, docs, files, headers, health, html, methods, metrics, page, waiting
from service.admission import Admission
from service.auth import require_token
from service.cancel import cancel
from service.check import check
from service.docs.render import render
from service.errors import ProblemHandler, TooLargeError
from service.export import export
from service.large_bodies import LargeBodies
from service.peers import Peers
from service.routing import ExactRouter, TargetRequest
from service.store_gauges import StoreGauges
from service.submission import MAX_LIST_BYTES, MAX_SINGLE_BYTES
from service.submission_writer import SubmissionWriter
from service.submit import submit
from service.waiting import Waiters
from settings import Settings
from tasks.stores.open import open_store
from telemetry import exporter, logs
from worker.broker import broker_availability, make_broker
from worker.describe import describe
from worker.publisher import Dispatcher
from worker.runtime import build_worker

MAX_HEAD_BYTES = 16 * 1024  # the longest URL may stand in the query string
STORE_THREADS = 16  # reads under way at once
PARSING_THREADS = 2  # long lists
CHECK_THREADS = 4  # for those who ask how the service is: they must not wait for its work
# How long a thread may keep the interpreter while others wait. A request needs several threads.
SWITCH_SECONDS = 0.001
STOP_MILLIS = 8000  # how long a stop waits for the workers inside

App = Sanic[Config, SimpleNamespace]

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> App:
    """The service. Nothing is opened before it starts."""
    app = Sanic(
        "md5_light",
        configure_logging=False,
        error_handler=ProblemHandler(),
        request_class=TargetRequest,
        router=ExactRouter(),
    )
    app.config.REQUEST_MAX_SIZE = MAX_LIST_BYTES
    app.signal("http.routing.after")(_limit_body)
    app.config.REQUEST_MAX_HEADER_SIZE = MAX_HEAD_BYTES
    app.config.REQUEST_TIMEOUT = settings.request_timeout  # type: ignore[assignment]
    app.config.PROXIES_COUNT = settings.proxies_count
    app.ctx.settings = settings
    _add_pages(app)
    app.add_route(
        submit,
        "/submit",
        methods=["POST"],
        stream=True,
        ctx_counts_refusals=True,
        ctx_takes_lists=True,
    )
    app.add_route(check, "/check", methods=["GET"])
    app.add_route(cancel, "/check", methods=["DELETE"])
    app.add_route(export, "/export", methods=["GET"])
    app.add_route(health.live, "/health/live", methods=["GET"], ctx_is_public=True)
    app.add_route(health.ready, "/health/ready", methods=["GET"], ctx_is_public=True)
    if not settings.metrics_port:
        app.add_route(metrics.get_metrics, "/metrics", methods=["GET"])
    methods.add_head_and_options(app)
    metrics.begin_series(app)
    app.on_request(metrics.start_timer)
    app.on_request(require_token)
    app.register_middleware(headers.add_headers, "response")  # the last one that runs
    if settings.cors_origins:
        app.register_middleware(cors.add_headers, "response")
    app.register_middleware(waiting.add_headers, "response")
    app.on_response(metrics.record_request)  # type: ignore[no-untyped-call]
    app.before_server_start(_open)
    app.before_server_stop(_end_waits)
    app.after_server_stop(_close)
    return app


def _add_pages(app: App) -> None:
    """Read and render what is served as files."""
    files.add_routes(app, page.DIRECTORY, page.CONTENT_SECURITY_POLICY)
    index = (page.DIRECTORY / "index.html").read_bytes()
    files.add_route(app, "/", index, page.CONTENT_SECURITY_POLICY, name="page_index_html")
    files.add_routes(app, docs.DIRECTORY, html.CONTENT_SECURITY_POLICY)
    document = json.loads((docs.DIRECTORY / "openapi.json").read_bytes())
    rendered = render(document).encode()
    files.add_route(app, "/docs", rendered, html.CONTENT_SECURITY_POLICY, name="docs_index_html")
    files.add_redirect(app, "/docs/", "../docs", name="docs_slash")


async def _limit_body(request: Request, route: Route, **_: object) -> None:
    """Refuse a body that is too large for anything but a list before it is read."""
    if getattr(route.ctx, "takes_lists", False):
        return  # its handler refuses and counts what is too large
    length = request.headers.get("content-length", "").strip()
    stated = int(length) if length.isdecimal() else 0
    if stated > MAX_SINGLE_BYTES:
        raise TooLargeError.of_body(MAX_SINGLE_BYTES)
    if request.stream is not None:
        request.stream.request_max_size = MAX_SINGLE_BYTES


def start_app(settings: Settings) -> App:
    """The service in a process of its own, which each web worker is: with its log set up."""
    sys.setswitchinterval(SWITCH_SECONDS)  # threads that compute would delay requests
    logs.set_up(settings.log_format)
    exported = exporter.set_up(*metrics.METRICS)
    app = create_app(settings)
    app.ctx.exporter = exported
    return app


async def _open(app: App) -> None:
    settings: Settings = app.ctx.settings
    # The connections of a proxy are those of many clients.
    app.ctx.peers = Peers(0 if settings.proxies_count else settings.connections_per_client)
    app.ctx.large_bodies = LargeBodies()
    app.ctx.store = open_store(settings)
    app.ctx.store_threads = ThreadPoolExecutor(STORE_THREADS, "store")
    app.ctx.submission_writer = SubmissionWriter(
        app.ctx.store, Admission(settings, app.ctx.store), app.ctx.store_threads
    )
    app.ctx.waiters = Waiters(app.ctx.store.ended, app.ctx.store_threads)
    app.ctx.parsing_threads = ThreadPoolExecutor(PARSING_THREADS, "parsing")
    app.ctx.check_threads = ThreadPoolExecutor(CHECK_THREADS, "check")
    app.ctx.store_gauges = StoreGauges(app.ctx.store, settings.max_stored)
    app.ctx.worker = None
    if settings.rabbitmq_url is None:
        runtime = build_worker(settings, app.ctx.store)
        app.ctx.dispatcher = runtime.dispatcher
        app.ctx.worker = dramatiq.Worker(
            runtime.broker, worker_threads=settings.worker_threads, worker_timeout=100
        )
        app.ctx.worker.start()
    else:
        availability = broker_availability()
        broker = make_broker(settings, availability)
        app.ctx.dispatcher = Dispatcher(broker, app.ctx.store, availability)
        app.ctx.dispatcher.start()
    # A full collection would look at everything that has been imported, which takes 50 ms.
    gc.collect()
    gc.freeze()
    parts = describe(settings, app.ctx.store)
    _log.info("listening on http://%s:%d, %s", settings.host, settings.port, parts)


async def _end_waits(app: App) -> None:
    app.ctx.waiters.close()


async def _close(app: App) -> None:
    if app.ctx.worker is not None:
        app.ctx.worker.stop(timeout=STOP_MILLIS)
    else:
        app.ctx.dispatcher.stop()
    app.ctx.submission_writer.close()
    app.ctx.store_gauges.close()
    app.ctx.store_threads.shutdown()
    app.ctx.check_threads.shutdown()
    app.ctx.parsing_threads.shutdown()
    app.ctx.store.close()
