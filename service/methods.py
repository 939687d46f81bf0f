"""The methods that every route has besides its own: HEAD if it has GET, and OPTIONS."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse]]


def add_head_and_options(app: Sanic[Config, SimpleNamespace]) -> None:
    """Add both to the routes that the app has so far."""
    by_path: dict[str, tuple[Any, list[str]]] = {}
    for route in list(app.router.routes):
        _, allowed = by_path.setdefault(route.path, (route, []))
        allowed += sorted(route.methods)
        if "GET" in route.methods:
            allowed.append("HEAD")
            _add(app, route, "HEAD", route.handler)  # Sanic itself leaves out the body
    for route, allowed in by_path.values():
        _add(app, route, "OPTIONS", _make_options(", ".join([*allowed, "OPTIONS"])))


def _add(app: Sanic[Config, SimpleNamespace], route: Any, method: str, handler: Handler) -> None:  # noqa: ANN401  sanic-routing has no types
    app.add_route(
        handler,
        f"/{route.path}",
        methods=[method],
        strict_slashes=route.strict,
        ctx_is_public=getattr(route.ctx, "is_public", False),
        name=f"{route.name.rpartition('.')[2]}_{method.lower()}",
    )


def _make_options(allowed: str) -> Handler:
    async def options(_request: Request, **_parts: str) -> HTTPResponse:
        return HTTPResponse(status=HTTPStatus.NO_CONTENT, headers={"Allow": allowed})

    return options
