"""How much may be submitted: a rate for each client, and a limit for all together."""

import math
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

from service.batch_submission import BatchSubmission
from service.client_networks import SITE_CLIENTS
from service.errors import RefusedError
from service.submission import CountedOnly, Submission
from settings import Settings
from tasks.quotas import CapacityLimit, RateLimit
from tasks.stores.contract import TaskStore

CAPACITY_RETRY_SECONDS = 30  # the Retry-After while there are too many tasks

WITHOUT_EMAIL = " Submit without email, or try again later."

Entry = Submission | BatchSubmission | CountedOnly


class Admission:
    """The limits on submissions."""

    def __init__(self, settings: Settings, store: TaskStore) -> None:
        self._rate = RateLimit(
            store,
            "submit",
            settings.submits_per_minute,
            timedelta(minutes=1),
            widening=SITE_CLIENTS,
        )
        self._mail_rate = RateLimit(
            store,
            "submit mail",
            settings.mails_per_hour_of_client,
            timedelta(hours=1),
            widening=SITE_CLIENTS,
        )
        self._urls_rate = RateLimit(
            store,
            "submit urls",
            settings.urls_per_hour,
            timedelta(hours=1),
            widening=SITE_CLIENTS,
        )
        self._capacity = CapacityLimit(store, settings.max_unfinished)

    def admit(self, entries: Sequence[Entry]) -> list[RefusedError | None]:
        """Count each submission. Return for each why it is refused, or None.

        Raises StoreUnavailableError if the store cannot count.
        """
        remaining = self._capacity.remaining()
        pauses = self._rate.hit_nested([each.networks for each in entries])
        verdicts = [_over_limit(pause, "tasks", "minute") for pause in pauses]
        self._admit_mails(entries, verdicts)
        admitted = 0
        for number, each in enumerate(entries):
            if verdicts[number] is None:
                verdicts[number] = self._admit_size(each, remaining - admitted)
            if verdicts[number] is None:
                admitted += each.size
        self._capacity.record_inserts(admitted)
        return verdicts

    def _admit_size(self, entry: Entry, remaining: int) -> RefusedError | None:
        """Return why an entry makes too many tasks, or None."""
        if entry.size > remaining:
            return _too_many_unfinished()
        if not isinstance(entry, BatchSubmission):
            return None
        pause = self._urls_rate.hit_many(entry.networks, entry.size)
        return _over_limit(pause, "URLs in batches", "hour")

    def _admit_mails(self, entries: Sequence[Entry], verdicts: list[RefusedError | None]) -> None:
        """Refuse those that are admitted so far but would cause too many mails."""
        mailing = [
            number for number, each in enumerate(entries) if each.email and verdicts[number] is None
        ]
        if mailing:
            pauses = self._mail_rate.hit_nested([entries[n].networks for n in mailing])
            for number, pause in zip(mailing, pauses, strict=True):
                verdicts[number] = _over_limit(
                    pause, "submissions with an email", "hour", WITHOUT_EMAIL
                )


def _over_limit(pause: timedelta, what: str, window: str, remedy: str = "") -> RefusedError | None:
    """Return the refusal of a client that has to wait, or None if it has not."""
    if not pause:
        return None
    return RefusedError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        f"Rate limit reached: too many {what} from your address in the last {window}.{remedy}",
        {"Retry-After": str(math.ceil(pause.total_seconds()))},
    )


def _too_many_unfinished() -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_unfinished",
        "Too many tasks are waiting already. Please try again later.",
        {"Retry-After": str(CAPACITY_RETRY_SECONDS)},
    )
