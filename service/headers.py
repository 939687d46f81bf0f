"""Headers that every answer has."""

from sanic import Request
from sanic.response import BaseHTTPResponse

# Answers change from one request to the next. Static files set a Cache-Control of their own.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def add_headers(_request: Request, response: BaseHTTPResponse) -> None:
    """Keep answers out of caches, and browsers from guessing what they are."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
