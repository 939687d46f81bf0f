"""Which other sites' pages may use the API: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from sanic import Request
from sanic.response import BaseHTTPResponse

from service.headers import vary_by

REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer"
RESPONSE_HEADERS = "Content-Location, Location, Preference-Applied, Retry-After"
PREFLIGHT_SECONDS = 3600  # how long a browser need not ask again


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what a page of another site may send."""
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


async def add_headers(request: Request, response: BaseHTTPResponse) -> None:
    """Allow the page that sends the request, if its origin is configured."""
    origins: tuple[str, ...] = request.app.ctx.settings.cors_origins
    origin = request.headers.get("origin")
    if origins != ("*",):
        vary_by(request, "Origin")
        if origin not in origins:
            return
    response.headers["Access-Control-Allow-Origin"] = "*" if origins == ("*",) else origin
    if is_preflight(request):
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    else:
        response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
