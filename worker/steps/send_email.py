"""The actor that reports: a thin shell around the mailer."""

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta

from settings import Settings
from tasks.address import mailbox_of
from tasks.limits import RateLimit
from tasks.task import MAX_MAIL_ATTEMPTS, Step, Task
from worker.leases import Change, Claim, LeaseKeeper
from worker.mail.errors import MailError
from worker.mail.mailer import Mailer
from worker.mail.message import build_message
from worker.retrying import patiently

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
# A mail that the recipient's limit would keep back for longer is not sent at all.
PATIENCE = timedelta(days=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reporter:
    """What a mail needs: the same for every task of a worker."""

    leases: LeaseKeeper
    mailer: Mailer
    settings: Settings
    stopping: threading.Event
    recipient_limit: RateLimit
    domain_limit: RateLimit

    def report(self, task_id: str) -> Task | None:
        """Try once to send a task's mail, unless another worker has claimed it.

        Returns the task as it was left, or None if there was nothing to do. Raises
        StoreUnavailableError if the worker stops while the store is unreachable.
        """
        return self.leases.attempt(task_id, Step.SEND_EMAIL, self._send, self.stopping)

    def _send(self, claim: Claim) -> Change:
        """Try once, and return the change that the outcome means for the task."""
        task = claim.task
        retention = timedelta(seconds=self.settings.retention)
        if pause := self._pause_before(task):
            return self._delay(pause)
        try:
            self.mailer.send(build_message(task, self.settings))
        except Exception as error:  # noqa: BLE001  the edge: whatever it is, the task must go on
            if not isinstance(error, MailError):
                _log.exception("unexpected error")
                error = MailError("unexpected error")
            is_final = error.is_permanent or task.mail_attempt >= MAX_MAIL_ATTEMPTS
            _log_failure(task, error, is_final=is_final)
            if is_final:
                return lambda task, now: task.mail_refused(now, retention=retention)
            return lambda task, now: task.mail_retry(now, self._pause(task.mail_attempt))
        _log.info("mail sent")
        return lambda task, now: task.mail_sent(now, retention=retention)

    def _pause_before(self, task: Task) -> timedelta:
        """Return how long the limits keep a mail back; a repeated try is not counted again."""
        assert task.email is not None
        if task.mail_attempt > 1:
            return timedelta(0)
        mailbox = mailbox_of(task.email)
        domain = mailbox.rpartition("@")[2]

        def count() -> timedelta:
            return max(self.recipient_limit.hit([mailbox])[0], self.domain_limit.hit([domain])[0])

        return patiently(count, self.stopping)

    def _delay(self, pause: timedelta) -> Change:
        retention = timedelta(seconds=self.settings.retention)
        is_final = pause > PATIENCE
        _log.warning(
            "the recipient or its domain has had as many mails as allowed, %s",
            "given up" if is_final else f"again in {pause.total_seconds():.0f} s",
        )
        if is_final:
            return lambda task, now: task.mail_refused(now, retention=retention)
        return lambda task, now: task.mail_delayed(now, pause)

    @staticmethod
    def _pause(attempt: int) -> timedelta:
        return min(FIRST_PAUSE * (1 << min(attempt - 1, 10)), LONGEST_PAUSE)


def _log_failure(task: Task, error: MailError, *, is_final: bool) -> None:
    level = logging.WARNING if is_final else logging.INFO
    what_next = "given up" if is_final else "will be tried again"
    if error.is_ours:
        level, what_next = logging.ERROR, f"{what_next}; check SMTP_URL and MAIL_FROM"
    _log.log(level, "mail not sent, try %d, %s: %s", task.mail_attempt, what_next, error)
