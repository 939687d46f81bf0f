"""The threads that send mails: a worker of their own beside that of the downloads."""

import threading

from dramatiq import Broker, Worker

from tasks.task import Step

# Threads spend their time waiting for the mail server, so they cost little. A silent server takes
# 16 sessions at most; `SessionWatch` then makes the longest silent one give way.
MAIL_THREADS = 16
STOP_MILLIS = 8000  # how long a stop waits for mails under way


class MailWorker(Worker):
    """Takes only mails, so that no mail waits for a download and no download for a mail.

    The download's worker leaves the mails' queue alone: see `keep_to_downloads`.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, queues={Step.SEND_EMAIL.value}, worker_threads=MAIL_THREADS)
        self._stopper: threading.Thread | None = None

    def begin_to_stop(self) -> None:
        """Stop in the background, while the worker of the downloads stops."""
        self._stopper = threading.Thread(target=self.stop, args=(STOP_MILLIS,), name="stop-mails")
        self._stopper.start()

    def wait_until_stopped(self) -> None:
        if self._stopper is not None:
            self._stopper.join()


def keep_to_downloads(worker: Worker) -> bool:
    """Take the mails' queue from a worker of both queues; return whether it had both.

    A worker has one queue only if `dramatiq actors -Q` says so.
    """
    if worker.consumer_whitelist is not None:
        return False
    worker.consumer_whitelist = {Step.COMPUTE_MD5.value}
    return True
