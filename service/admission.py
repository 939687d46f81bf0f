"""How much may be submitted: a rate for each client, and a limit for all together."""

import math
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

from service.batch_submission import BatchSubmission
from service.client_networks import SITE_CLIENTS
from service.errors import RefusedError
from service.submission import InvalidSubmission, Submission
from settings import Settings
from tasks.quotas import CapacityLimit, RateLimit
from tasks.stores.contract import TaskStore

CAPACITY_RETRY_SECONDS = 30  # the Retry-After while there are too many tasks

Entry = Submission | BatchSubmission | InvalidSubmission


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
        verdicts: list[RefusedError | None] = [_too_many_for(pause) for pause in pauses]
        self._admit_mails(entries, verdicts)
        self._admit_batches(entries, verdicts)
        admitted = 0
        for number, each in enumerate(entries):
            if verdicts[number] is None:
                if admitted + each.size <= remaining:
                    admitted += each.size
                else:
                    verdicts[number] = _too_many_unfinished()
        self._capacity.record_inserts(admitted)
        return verdicts

    def _admit_mails(self, entries: Sequence[Entry], verdicts: list[RefusedError | None]) -> None:
        """Refuse those that are admitted so far but would cause too many mails."""
        mailing = [
            number for number, each in enumerate(entries) if each.email and verdicts[number] is None
        ]
        if mailing:
            pauses = self._mail_rate.hit_nested([entries[n].networks for n in mailing])
            for number, pause in zip(mailing, pauses, strict=True):
                verdicts[number] = _too_many_mails_for(pause)

    def _admit_batches(self, entries: Sequence[Entry], verdicts: list[RefusedError | None]) -> None:
        """Refuse batches with more URLs than their clients may still submit."""
        for number, each in enumerate(entries):
            if isinstance(each, BatchSubmission) and verdicts[number] is None:
                pause = self._urls_rate.hit_many(each.networks, each.size)
                verdicts[number] = _too_many_urls_for(pause)


def _too_many_mails_for(pause: timedelta) -> RefusedError | None:
    if not pause:
        return None
    return RefusedError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        "Rate limit reached: too many submissions with an email from your address in the last"
        " hour. Submit without email, or try again later.",
        {"Retry-After": str(math.ceil(pause.total_seconds()))},
    )


def _too_many_urls_for(pause: timedelta) -> RefusedError | None:
    if not pause:
        return None
    return RefusedError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        "Rate limit reached: too many URLs in batches from your address in the last hour.",
        {"Retry-After": str(math.ceil(pause.total_seconds()))},
    )


def _too_many_unfinished() -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_unfinished",
        "Too many tasks are waiting already. Please try again later.",
        {"Retry-After": str(CAPACITY_RETRY_SECONDS)},
    )


def _too_many_for(pause: timedelta) -> RefusedError | None:
    if not pause:
        return None
    return RefusedError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        "Rate limit reached: too many tasks from your address in the last minute.",
        {"Retry-After": str(math.ceil(pause.total_seconds()))},
    )
