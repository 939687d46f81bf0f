"""A Dramatiq worker for mails, with threads separate from those of the downloads."""

import threading
import time

from dramatiq import Broker, Worker

from tasks.step import StepKind
from worker.batch_workers import BATCH_QUEUES, LANE_QUEUES
from worker.mail.mailer import Mailer

# Threads spend their time waiting for the mail server, so they cost little. A silent server takes
# 16 sessions at most; `SessionWatch` then makes the longest silent one give way.
MAIL_THREADS = 16
MAIL_QUEUES = frozenset({StepKind.SEND_EMAIL.value})
GRACE_SECONDS = 4.0  # how long a stop waits for the mail server
SETTLE_SECONDS = 2.0  # how long it then waits until the outcomes are written
CONSUMER_MILLIS = 1000  # how long it waits for the threads that receive messages


class MailWorker(Worker):
    """Takes only mails, so that no mail waits for a download and no download for a mail.

    The download's worker leaves the mails' queue alone: see `keep_to_downloads`.
    """

    def __init__(self, broker: Broker, mailer: Mailer) -> None:
        super().__init__(broker, queues=set(MAIL_QUEUES), worker_threads=MAIL_THREADS)
        self._grace = threading.Timer(GRACE_SECONDS, mailer.interrupt)
        self._grace.daemon = True
        self._deadline = 0.0

    def begin_to_stop(self) -> None:
        """Begin no more mails. The mails under way have the grace to end."""
        for thread in self.workers:
            thread.stop()
        self._deadline = time.monotonic() + GRACE_SECONDS + SETTLE_SECONDS
        self._grace.start()

    def wait_until_stopped(self) -> None:
        """Wait for the mails under way, and interrupt those that outlast their grace."""
        for thread in self.workers:
            thread.join(max(0.0, self._deadline - time.monotonic()))
        self._grace.cancel()
        self.stop(timeout=CONSUMER_MILLIS)


def keep_to_downloads(worker: Worker) -> bool:
    """Take all queues but that of downloads from a worker; return whether it had all of them.

    A worker has only some queues if `dramatiq actors -Q` says so.
    """
    if worker.consumer_whitelist is not None:
        return False
    worker.consumer_whitelist = (
        {kind.value for kind in StepKind} - MAIL_QUEUES - BATCH_QUEUES - LANE_QUEUES
    )
    return True
