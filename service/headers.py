"""Headers that every answer has."""

from sanic import Request
from sanic.response import BaseHTTPResponse

# Answers change from one request to the next. Static files set a Cache-Control of their own.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def add_headers(request: Request, response: BaseHTTPResponse) -> None:
    """Keep answers out of caches, and browsers from guessing what they are.

    `Vary` names the headers of the request on which the answer depends.
    """
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if varying := sorted(getattr(request.ctx, "varying", ())):
        response.headers["Vary"] = ", ".join(varying)


def vary_by(request: Request, name: str) -> None:
    """Note that the answer depends on a header of the request."""
    request.ctx.varying = {*getattr(request.ctx, "varying", ()), name}
