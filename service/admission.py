"""Who may submit how much: tokens, a rate for each client, and a ceiling for all."""

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from sanic import Request

from service.clients import SITE_CLIENTS
from service.cors import is_preflight
from service.errors import RefusedError
from settings import Settings
from tasks.limits import Ceiling, RateLimit
from tasks.stores.contract import TaskStore

CEILING_RETRY_SECONDS = 30  # what a client is told to wait while there are too many tasks


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits a task, whether a mail is to follow, and whether the request is refused anyway.

    `networks` are those of the client, the narrowest first.
    """

    networks: tuple[str, ...]
    wants_mail: bool = False
    is_refused: bool = False


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
        self._ceiling = Ceiling(store, settings.max_unfinished)

    def admit(self, submitters: Sequence[Submitter]) -> list[RefusedError | None]:
        """Count one more submission of each; return why it is refused, or None, for each.

        Raises StoreUnavailableError if the store cannot count.
        """
        room = self._ceiling.room()
        pauses = self._rate.hit_nested([each.networks for each in submitters])
        verdicts: list[RefusedError | None] = [_too_many_for(pause) for pause in pauses]
        self._admit_mails(submitters, verdicts)
        admitted = 0
        for number, each in enumerate(submitters):
            if verdicts[number] is None and not each.is_refused:
                if admitted < room:
                    admitted += 1
                else:
                    verdicts[number] = _too_many_unfinished()
        self._ceiling.note_inserts(admitted)
        return verdicts

    def _admit_mails(
        self, submitters: Sequence[Submitter], verdicts: list[RefusedError | None]
    ) -> None:
        """Refuse those that are admitted so far but would cause too many mails."""
        mailing = [
            number
            for number, each in enumerate(submitters)
            if each.wants_mail and verdicts[number] is None
        ]
        if mailing:
            pauses = self._mail_rate.hit_nested([submitters[n].networks for n in mailing])
            for number, pause in zip(mailing, pauses, strict=True):
                verdicts[number] = _too_many_mails_for(pause)


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


def _too_many_unfinished() -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_unfinished",
        "Too many tasks are waiting already. Please try again later.",
        {"Retry-After": str(CEILING_RETRY_SECONDS)},
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


def require_token(request: Request) -> None:
    """Raises RefusedError if tokens are asked for and this request, not one for health, has none.

    As in RFC 6750 § 2.1 and § 3. The comparison takes as long for a wrong token as for a right one.
    A preflight has no token yet: the browser asks whether it may send one.
    """
    tokens: tuple[str, ...] = request.app.ctx.settings.api_tokens
    if not tokens or request.path.startswith("/health/") or is_preflight(request):
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = _digest(token.strip())
    are_equal = [hmac.compare_digest(given, _digest(each)) for each in tokens]
    if scheme.lower() != "bearer" or not any(are_equal):
        raise RefusedError(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            "This service answers only with a valid token: Authorization: Bearer <token>.",
            {"WWW-Authenticate": "Bearer"},
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
