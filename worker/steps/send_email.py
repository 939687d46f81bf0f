"""The step that sends the email about a result, by means of the mailer."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from settings import Settings
from tasks.address import mailbox_of
from tasks.errors import StoreUnavailableError
from tasks.outcome import Delayed, Failed, GivenBack, Outcome, RetryLater, Succeeded
from tasks.quotas import RateLimit
from tasks.step import ROWS, StepKind
from tasks.stores.contract import TaskStore
from tasks.stores.paging import in_pages
from tasks.task import Task
from worker.leases import Claim, ClaimLostError
from worker.mail.errors import MailError
from worker.mail.mailer import Mailer
from worker.mail.message import build_message
from worker.resources import Resources
from worker.retrying import until_available

MAX_ATTEMPTS = ROWS[StepKind.SEND_EMAIL].max_attempts or 1
PAGE = 500  # members of a batch that are read at once
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
# A mail that the recipient's limit would keep back for longer is not sent at all.
MAX_DELAY = timedelta(days=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SendEmail:
    """What a mail needs: the same for every task of a worker."""

    store: TaskStore
    mailer: Mailer
    settings: Settings
    stopping: threading.Event
    recipient_limit: RateLimit
    domain_limit: RateLimit

    def attempt(self, claim: Claim) -> Outcome:
        """Try once to send the mail."""
        task, attempt = claim.task, claim.step.attempt
        if pause := self._pause_before(task, attempt):
            return _delay(pause)
        try:
            self.mailer.send(build_message(task, self.settings, self._members(task)), claim.confirm)
        except (ClaimLostError, StoreUnavailableError):
            return GivenBack()  # the mail is not ours to send, as far as is known
        except Exception as error:  # noqa: BLE001  the edge: whatever it is, the task must go on
            if not isinstance(error, MailError):
                _log.exception("unexpected error")
                error = MailError("unexpected error")
            is_final = error.is_permanent or attempt >= MAX_ATTEMPTS
            _log_failure(attempt, error, is_final=is_final)
            return Failed() if is_final else RetryLater(_backoff(attempt))
        _log.info("mail sent")
        return Succeeded()

    def _members(self, task: Task) -> Iterator[Task]:
        """Return the members of a batch. Raises StoreUnavailableError if the worker stops."""
        if task.batch is None:
            return
        read = partial(self.store.members.pages, task.batch.group, "position", PAGE)
        for page in in_pages(
            lambda after: until_available(lambda: read(after), self.stopping), "position"
        ):
            yield from page

    def _pause_before(self, task: Task, attempt: int) -> timedelta:
        """Return how long the limits keep a mail back; a repeated try is not counted again."""
        assert task.email is not None
        if attempt > 1:
            return timedelta(0)
        mailbox = mailbox_of(task.email)
        domain = mailbox.rpartition("@")[2]

        def count() -> timedelta:
            return max(self.recipient_limit.hit([mailbox])[0], self.domain_limit.hit([domain])[0])

        return until_available(count, self.stopping)


def build(resources: Resources) -> SendEmail:
    """Return the step of this worker."""
    settings, store, hour = resources.settings, resources.store, timedelta(hours=1)
    return SendEmail(
        store,
        resources.mailer,
        settings,
        resources.stopping,
        RateLimit(store, "mail", settings.mails_per_hour, hour),
        RateLimit(store, "mail domain", settings.mails_per_hour_to_domain, hour),
    )


def _delay(pause: timedelta) -> Outcome:
    is_final = pause > MAX_DELAY
    _log.warning(
        "the recipient or its domain has had as many mails as allowed, %s",
        "given up" if is_final else f"again in {pause.total_seconds():.0f} s",
    )
    return Failed() if is_final else Delayed(pause)


def _backoff(attempt: int) -> timedelta:
    return min(FIRST_PAUSE * (1 << min(attempt - 1, 10)), LONGEST_PAUSE)


def _log_failure(attempt: int, error: MailError, *, is_final: bool) -> None:
    level = logging.WARNING if is_final else logging.INFO
    what_next = "given up" if is_final else "will be tried again"
    if error.is_ours:
        level, what_next = logging.ERROR, f"{what_next}; check SMTP_URL and MAIL_FROM"
    _log.log(level, "mail not sent, try %d, %s: %s", attempt, what_next, error)
