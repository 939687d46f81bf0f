"""What happens when a dramatiq worker starts and stops, and before and after each message."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

from dramatiq import Broker, MessageProxy, Middleware, Worker
from dramatiq.worker import ConsumerThread, WorkerThread

from fetch.kept import KeptConnections
from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.step import StepKind
from telemetry.heartbeat import Heartbeats
from worker import metrics
from worker.batch_workers import LONG_DOWNLOADS, BatchWorker, LaneWorker
from worker.describe import describe
from worker.leases import LeaseKeeper
from worker.mail.mailer import Mailer
from worker.mail_worker import CONSUMER_MILLIS, MAIL_THREADS, MailWorker, keep_to_downloads
from worker.publisher import Dispatcher, published_at
from worker.resources import Resources
from worker.sweeper import Sweeper

BESIDE = (MailWorker, BatchWorker, LaneWorker)  # the worker of downloads

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """The threads that come and go with a worker."""

    dispatcher: Dispatcher
    leases: LeaseKeeper
    sweeper: Sweeper
    kept: KeptConnections
    heartbeats: Heartbeats | None  # None inside the service


class LifecycleMiddleware(Middleware):
    """Starts and stops the companions of the worker of downloads, and the workers beside it.

    These are for mails, batches and lanes.
    """

    def __init__(
        self, companions: Companions, resources: Resources, lane_worker: LaneWorker
    ) -> None:
        self._companions = companions
        self._settings: Settings = resources.settings
        self._store = resources.store
        self._stopping = resources.stopping
        self._mailer: Mailer = resources.mailer
        self._lane_worker = lane_worker
        self._mail_worker: MailWorker | None = None
        self._batch_workers: tuple[Worker, ...] = ()

    @property
    def actor_options(self) -> set[str]:
        """Errors named by `throws` are logged by dramatiq in one line, without a trace."""
        return {"throws"}

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        # A message that waits in a busy process would wait although another process is idle, and
        # RabbitMQ's consumer_timeout would run. So a process takes as many as it has threads.
        worker.queue_prefetch = worker.worker_threads
        worker.delay_prefetch = 1  # nothing is delayed
        if worker is self._lane_worker and self._settings.rabbitmq_url is None:
            worker.queue_prefetch += LONG_DOWNLOADS  # there is no other process
        if isinstance(worker, BESIDE):
            return
        if keep_to_downloads(worker):
            self._mail_worker = MailWorker(broker, self._mailer)
            self._lane_worker.worker_threads = worker.worker_threads
            self._batch_workers = (BatchWorker(broker), self._lane_worker)
        self._companions.dispatcher.start()
        self._companions.leases.start()
        self._companions.kept.start()

    def after_worker_boot(self, _broker: Broker, worker: Worker) -> None:
        if isinstance(worker, BESIDE):
            return
        if self._mail_worker is not None:
            self._mail_worker.start()
        for each in self._batch_workers:
            each.start()
        if StepKind.COMPUTE_MD5 in (worker.consumer_whitelist or ()):
            metrics.download_threads.set(worker.worker_threads)
        self._companions.sweeper.start()
        if self._settings.rabbitmq_url is not None:  # else the service logs the same
            _log.info(
                "worker with %d threads for downloads and %d for mails, %s",
                worker.worker_threads,
                0 if self._mail_worker is None else MAIL_THREADS,
                describe(self._settings, self._store),
            )

    def after_worker_thread_boot(self, _broker: Broker, thread: WorkerThread) -> None:
        self._watch(thread)

    def after_consumer_thread_boot(self, _broker: Broker, thread: ConsumerThread) -> None:
        self._watch(thread)

    def _watch(self, thread: Thread) -> None:
        if self._companions.heartbeats is not None:
            self._companions.heartbeats.watch(thread)

    def before_worker_thread_shutdown(self, _broker: Broker, thread: WorkerThread) -> None:
        if self._companions.heartbeats is not None:
            self._companions.heartbeats.forget(thread)
        self._lane_worker.forget(thread)

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        with suppress(ValueError, TypeError, OverflowError):  # a message that is not ours
            kind = StepKind(message.queue_name)
            self._companions.dispatcher.record_consumed(kind.value, published_at(message))

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
        if isinstance(worker, BESIDE):
            return
        metrics.download_threads.set(0)
        self._companions.sweeper.stop()
        self._stopping.set()
        if self._mail_worker is not None:
            self._mail_worker.begin_to_stop()
        for each in self._batch_workers:
            for thread in each.workers:
                thread.stop()
            for consumer in each.consumers.values():  # each takes up to a second to end
                consumer.stop()

    def after_worker_shutdown(self, _broker: Broker, worker: Worker) -> None:
        if isinstance(worker, BESIDE):
            return
        if self._mail_worker is not None:
            self._mail_worker.wait_until_stopped()
        for each in self._batch_workers:
            each.stop(timeout=CONSUMER_MILLIS)
        self._companions.kept.stop()
        self._companions.leases.stop()
        self._companions.dispatcher.stop()
