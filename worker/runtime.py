"""The composition root of a worker: the broker first, then the actors, then what runs beside them.

A worker is a process of `dramatiq actors`, or the service itself when it is embedded.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import dramatiq
from dramatiq import Broker

from fetch.kept import KeptConnections
from settings import Settings, SettingsError
from tasks.errors import StoreUnavailableError, TaskError
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.stores.open import open_store
from tasks.task import Task
from telemetry import exporter, logs
from telemetry.heartbeat import Heartbeats, no_beat
from worker import metrics
from worker.batch_workers import LaneWorker
from worker.broker import broker_availability, make_broker
from worker.descriptors import raise_descriptor_limit
from worker.downloader import Downloader
from worker.leases import LEASES, LeaseKeeper
from worker.lifecycle import Companions, LifecycleMiddleware
from worker.mail.mailer import open_mailer
from worker.mail_worker import MAIL_THREADS
from worker.publisher import DISPATCHER, Dispatcher
from worker.resources import Resources
from worker.runner import Attempt, StepRunner
from worker.steps import STEPS
from worker.sweeper import SWEEPER, Sweeper

# A look at a large batch takes tenths of a second.
WAKE_ATTEMPTS = 10
WAKE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """A broker with our actors, and what runs beside its worker."""

    broker: Broker
    companions: Companions

    @property
    def dispatcher(self) -> Dispatcher:
        """Sends the actors their messages."""
        return self.companions.dispatcher


def build_worker(
    settings: Settings, store: TaskStore, heartbeats: Heartbeats | None = None
) -> WorkerRuntime:
    """Build all parts of a worker. They start with the dramatiq worker of the broker."""
    beat = no_beat if heartbeats is None else heartbeats.beat
    availability = broker_availability()
    broker = make_broker(settings, availability, beat)
    dispatcher = Dispatcher(broker, store, availability, beat)
    leases = LeaseKeeper(store, settings.lease, beat)
    kept = KeptConnections()
    lane_worker = LaneWorker(broker)
    stopping = threading.Event()
    resources = Resources(
        settings=settings,
        store=store,
        fetch=Downloader(settings, kept).fetch,
        leases=leases,
        mailer=open_mailer(settings, MAIL_THREADS),
        relieve=lane_worker.relieve,
        wake_batch=partial(wake_batch, store, dispatcher, stopping),
        stopping=stopping,
    )
    companions = Companions(
        dispatcher=dispatcher,
        leases=leases,
        sweeper=Sweeper(store, dispatcher, settings, beat=beat),
        kept=kept,
        heartbeats=heartbeats,
    )
    broker.add_middleware(LifecycleMiddleware(companions, resources, lane_worker))
    retention = timedelta(seconds=settings.retention)
    runner = StepRunner(store, leases, retention, stopping)
    runtime = WorkerRuntime(broker, companions)
    for kind, build in STEPS.items():
        _declare_actor(runtime, runner, kind, build(resources).attempt)
    return runtime


def _declare_actor(
    runtime: WorkerRuntime, runner: StepRunner, kind: StepKind, attempt: Attempt
) -> None:
    @dramatiq.actor(
        actor_name=kind.value,
        queue_name=kind.value,
        broker=runtime.broker,
        throws=StoreUnavailableError,
    )
    def actor(task_id: str) -> None:
        with logs.task_context(task_id):
            task = runner.run(task_id, kind, attempt)
        if task is None:
            return
        # The same step again waits for its time, or for another worker, and so for the sweeper.
        is_next_turn = task.retry_at is None and not runner.stopping.is_set()
        if task.next_step is not kind or is_next_turn:
            runtime.dispatcher.dispatch([task])


def wake_batch(
    store: TaskStore, dispatcher: Dispatcher, stopping: threading.Event, batch_id: str
) -> None:
    """Let a batch look at its members at once. It does so by itself a little later.

    If it is looking just now, it looks again, as it may have begun before the last member ended.
    """
    with suppress(TaskError):
        for _ in range(WAKE_ATTEMPTS):
            batch = store.get(batch_id)
            if batch is None or not _has_to_look(batch):
                return
            woken = store.save(batch.woken(store.now())) if batch.next_step else None
            if woken is not None:
                dispatcher.dispatch([woken])
                return
            stopping.wait(WAKE_SECONDS)


def _has_to_look(batch: Task) -> bool:
    step = batch.current_step
    return step is not None and step.kind is StepKind.RUN_BATCH


def compose_worker(environ: Mapping[str, str]) -> None:
    """Make this process a worker of `dramatiq actors`. Exits with a message if it can't be one."""
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    if settings.rabbitmq_url is None:
        raise SystemExit(
            "RABBITMQ_URL is not set: `dramatiq actors` takes its messages from RabbitMQ. Without"
            " RabbitMQ there is nothing to start here, the service has its workers inside."
        )
    logs.set_up(settings.log_format)
    raise_descriptor_limit()
    exported = exporter.set_up(*metrics.METRICS)
    if settings.metrics_port and exported.is_first:
        try:
            exported.serve(settings.host, settings.metrics_port)
        except OSError as error:
            where = f"{settings.host}, port {settings.metrics_port}"
            raise SystemExit(f"METRICS_PORT: cannot listen on {where}: {error.strerror}") from None
    heartbeats = Heartbeats(exported.folder, (SWEEPER, DISPATCHER, LEASES))
    dramatiq.set_broker(build_worker(settings, open_store(settings), heartbeats).broker)
