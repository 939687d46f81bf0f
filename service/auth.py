"""Who may use the service: bearer tokens, as in RFC 6750."""

import hashlib
import hmac
from http import HTTPStatus

from sanic import Request

from service.cors import is_preflight
from service.errors import RefusedError


def require_token(request: Request) -> None:
    """Refuse a request without a valid token, if tokens are configured.

    As in RFC 6750 § 2.1 and § 3. The comparison takes as long for a wrong token as for a right one.
    A route with `ctx_is_public` needs none, and a preflight has none yet: the browser asks whether
    it may send one. Raises RefusedError.
    """
    tokens: tuple[str, ...] = request.app.ctx.settings.api_tokens
    is_public = request.route is not None and getattr(request.route.ctx, "is_public", False)
    if not tokens or is_public or is_preflight(request):
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
