"""Who may submit how much: tokens, a rate for each client, and a ceiling for all."""

import hashlib
import hmac
import ipaddress
import math
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

from sanic import Request

from service.cors import is_preflight
from service.errors import RefusedError
from settings import Settings
from tasks.limits import Ceiling, RateLimit
from tasks.store import TaskStore

CEILING_RETRY_SECONDS = 30  # what a client is told to wait while there are too many tasks
MAX_NAME = 100  # characters of what stands in the place of an address
IPV6_PREFIX = 64  # the rest of an address is its owner's to choose, RFC 4291 § 2.5.4


class Admission:
    """The limits on submissions."""

    def __init__(self, settings: Settings, store: TaskStore) -> None:
        self._rate = RateLimit(store, "submit", settings.submits_per_minute, timedelta(minutes=1))
        self._ceiling = Ceiling(store, settings.max_unfinished)

    def admit(self, clients: Sequence[str]) -> list[RefusedError | None]:
        """Count one more submission of each client; why it is refused, or None, for each.

        Raises StoreUnavailableError if that can't be told.
        """
        room = self._ceiling.room()
        verdicts: list[RefusedError | None] = [_too_many_for(p) for p in self._rate.hit(clients)]
        for number, verdict in enumerate(verdicts):
            if verdict is None:
                room -= 1
                if room < 0:
                    verdicts[number] = _too_many_unfinished()
        self._ceiling.note_inserts(verdicts.count(None))
        return verdicts


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
        "Your address has submitted as many tasks as it may in a minute.",
        {"Retry-After": str(math.ceil(pause.total_seconds()))},
    )


def client_of(request: Request) -> str:
    """The client's address; of an IPv6 address the network, of which one client has all."""
    text = request.client_ip.strip("[]")
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # what a proxy was told, or a name of its own
        return text.encode("ascii", "backslashreplace").decode()[:MAX_NAME]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
        address = address.ipv4_mapped
    return str(address)


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
