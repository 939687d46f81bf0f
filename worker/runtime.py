"""The composition root of a worker: the broker first, then the actors, then what runs beside them.

A worker is a process of `dramatiq actors`, or the service itself when it is embedded.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware, Worker

from fetch.bounds import Limits
from fetch.download import Progress, download
from fetch.guard import Guard
from fetch.kept import KeptConnections
from fetch.lookup import Resolver
from fetch.transport import Transport
from settings import Settings, SettingsError
from tasks.digests import Digest
from tasks.errors import StoreUnavailableError
from tasks.limits import RateLimit
from tasks.stores.contract import TaskStore
from tasks.stores.open import open_store
from tasks.task import Step, Task
from telemetry import logs
from worker import metrics
from worker.broker import make_broker
from worker.descriptors import raise_descriptor_limit
from worker.leases import LeaseKeeper
from worker.mail.mailer import open_mailer
from worker.mail_worker import MAIL_THREADS, MailWorker, keep_to_downloads
from worker.publisher import Dispatcher, published_at
from worker.steps.compute_md5 import Fetch, Md5Computer
from worker.steps.send_email import Reporter
from worker.sweeper import Sweeper

_log = logging.getLogger(__name__)


class Background(Middleware):
    """A broker with our actors, and the threads that come and go with its worker."""

    def __init__(self, settings: Settings, store: TaskStore) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._mail_worker: MailWorker | None = None
        self.broker = make_broker(settings, [self])
        self.dispatcher = Dispatcher(self.broker, store)
        self._leases = LeaseKeeper(store, settings.lease)
        self._sweeper = Sweeper(store, self.dispatcher, settings)
        self._kept = KeptConnections()
        fetch = _make_fetch(settings, self._kept)
        computer = Md5Computer(self._leases, fetch, settings, self._stopping)
        self._mailer = open_mailer(settings, MAIL_THREADS)
        hour = timedelta(hours=1)
        reporter = Reporter(
            self._leases,
            self._mailer,
            settings,
            self._stopping,
            RateLimit(store, "mail", settings.mails_per_hour, hour),
            RateLimit(store, "mail domain", settings.mails_per_hour_to_domain, hour),
        )
        self._declare(Step.COMPUTE_MD5, computer.compute)
        self._declare(Step.SEND_EMAIL, reporter.report)

    def _declare(self, step: Step, act: Callable[[str], Task | None]) -> None:
        def actor(task_id: str) -> None:
            with logs.about(task_id):
                task = act(task_id)
            if task is None:
                return
            metrics.note_outcome(step, task)
            # The same step again is one that waits for its time, and so for the sweeper.
            if task.next_step is not step:
                self.dispatcher.dispatch([task])

        declared = dramatiq.actor(
            actor_name=step.value,
            queue_name=step.value,
            broker=self.broker,
        )(actor)
        declared.options["throws"] = StoreUnavailableError  # is logged once, without a trace

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        # A message that waits in a busy process would wait although another process is idle, and
        # RabbitMQ's consumer_timeout would run. So a process takes as many as it has threads.
        worker.queue_prefetch = worker.worker_threads
        if isinstance(worker, MailWorker):
            return
        if keep_to_downloads(worker):
            self._mail_worker = MailWorker(broker, self._mailer)
        self.dispatcher.start()
        self._leases.start()
        self._kept.start()

    def after_worker_boot(self, _broker: Broker, worker: Worker) -> None:
        if isinstance(worker, MailWorker):
            return
        if self._mail_worker is not None:
            self._mail_worker.start()
        self._sweeper.start()
        if self._settings.rabbitmq_url is not None:  # else the service logs the same
            _log.info(
                "worker with %d threads for downloads and %d for mails, %s",
                worker.worker_threads,
                0 if self._mail_worker is None else MAIL_THREADS,
                describe(self._settings),
            )

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        with suppress(ValueError, TypeError, OverflowError):  # a message of somebody else's
            self.dispatcher.note_consumed(Step(message.queue_name), published_at(message))

    def after_process_message(
        self,
        _broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        del result
        if isinstance(exception, StoreUnavailableError):
            message.fail()  # or it would be acknowledged, and its task wait for minutes

    def before_worker_shutdown(self, _broker: Broker, worker: Worker) -> None:
        if isinstance(worker, MailWorker):
            return
        self._sweeper.stop()
        self._stopping.set()
        if self._mail_worker is not None:
            self._mail_worker.begin_to_stop()

    def after_worker_shutdown(self, _broker: Broker, worker: Worker) -> None:
        if isinstance(worker, MailWorker):
            return
        if self._mail_worker is not None:
            self._mail_worker.wait_until_stopped()
        self._kept.stop()
        self._leases.stop()
        self.dispatcher.stop()


def describe(settings: Settings) -> str:
    """Return which store, broker and mailer are in use, without their URLs."""
    store = "MongoDB" if settings.mongodb_url else f"SQLite under {settings.data_dir}"
    broker = "RabbitMQ" if settings.rabbitmq_url else "this process"
    mailer = "SMTP" if settings.smtp_url else f"files under {settings.data_dir / 'mail'}"
    return f"tasks in {store}, messages in {broker}, mails by {mailer}"


def _make_fetch(settings: Settings, kept: KeptConnections) -> Fetch:
    """Return a download with the operator's limits, over the calling thread's own connections."""
    guard = Guard(allow=settings.allow_networks, deny=settings.deny_networks)
    resolver = Resolver()
    limits = Limits.from_settings(settings)
    local = threading.local()

    def fetch(
        url: str, progress: Progress, is_cancelled: Callable[[], bool], seconds_left: float
    ) -> Digest:
        if not hasattr(local, "transport"):
            local.transport = Transport(
                guard,
                resolver=resolver,
                kept=kept,
                ca_bundle=settings.ca_bundle,
                user_agent=settings.sent_user_agent,
            )
        bytes_done = 0

        def note_progress(done: int, total: int | None) -> None:
            nonlocal bytes_done
            metrics.download_bytes.inc(max(0, done - bytes_done))  # it may start again
            bytes_done = done
            progress(done, total)

        with metrics.download_seconds.time():
            return download(
                url,
                local.transport,
                replace(limits, deadline=min(limits.deadline, seconds_left)),
                progress=note_progress,
                is_cancelled=is_cancelled,
            )

    return fetch


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
    if settings.metrics_port and metrics.IS_FIRST_PROCESS:
        try:
            metrics.serve(settings.host, settings.metrics_port)
        except OSError as error:
            where = f"{settings.host}, port {settings.metrics_port}"
            raise SystemExit(f"METRICS_PORT: cannot listen on {where}: {error.strerror}") from None
    dramatiq.set_broker(Background(settings, open_store(settings)).broker)
