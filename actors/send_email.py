"""The actor that reports: a thin shell around the mailer."""

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta

from actors.leases import Change, Claim, LeaseKeeper
from actors.mailer import Mailer, MailError, build_message
from settings import Settings
from tasks.task import MAX_MAIL_ATTEMPTS, Step, Task

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reporter:
    """What a mail needs: the same for every task of a worker."""

    leases: LeaseKeeper
    mailer: Mailer
    settings: Settings
    stopping: threading.Event

    def report(self, task_id: str) -> Task | None:
        """Try once to send a task's mail, unless it is somebody else's by now.

        Returns the task as it was left, or None when there was nothing to do for us. Raises
        StoreUnavailableError when the worker stops while the store is out of reach.
        """
        return self.leases.attempt(task_id, Step.SEND_EMAIL, self._send, self.stopping)

    def _send(self, claim: Claim) -> Change:
        """Try once; returns the change that the outcome means for the task."""
        task = claim.task
        retention = timedelta(seconds=self.settings.retention)
        try:
            self.mailer.send(build_message(task, self.settings))
        except Exception as error:  # noqa: BLE001  the edge: whatever it is, the task must go on
            if not isinstance(error, MailError):
                _log.exception("task %s: unexpected error", task.id)
                error = MailError("unexpected error")
            is_final = error.is_permanent or task.mail_attempt >= MAX_MAIL_ATTEMPTS
            _log.warning(
                "task %s: mail not sent, try %d, %s: %s",
                task.id,
                task.mail_attempt,
                "given up" if is_final else "will be tried again",
                error,
            )
            if is_final:
                return lambda task, now: task.mail_refused(now, retention=retention)
            return lambda task, now: task.mail_retry(now, self._pause(task.mail_attempt))
        _log.info("task %s: mail sent", task.id)
        return lambda task, now: task.mail_sent(now, retention=retention)

    @staticmethod
    def _pause(attempt: int) -> timedelta:
        return min(FIRST_PAUSE * (1 << min(attempt - 1, 10)), LONGEST_PAUSE)
