"""Find the handler of a request: accept each form of target, and look its path up in a table."""

from typing import Any

from sanic import Request
from sanic.exceptions import BadRequest, MethodNotAllowed, NotFound
from sanic.models.handler_types import RouteHandler
from sanic.router import Router
from sanic_routing.route import Route


class TargetRequest(Request):
    """A request whose target is a path or, as servers must accept it, a URL (RFC 9112 § 3.2)."""

    def __init__(self, url_bytes: bytes, **kwargs: Any) -> None:
        # To answer a request whose target cannot be parsed, Sanic makes another of the same target.
        target = b"*" if kwargs["method"] == "NONE" else url_bytes
        super().__init__(target, **kwargs)
        is_path = target.startswith((b"/", b"*"))
        if not is_path and self._parsed_url.schema.lower() not in (b"http", b"https"):
            raise BadRequest("The request target is neither a path nor an http URL.")

    @property
    def path(self) -> str:
        """The path of the target; a URL may lack one."""
        return str((self._parsed_url.path or b"/").decode())


class ExactRouter(Router):
    """Looks paths up in a table; none of the routes has variable parts.

    Sanic's own search calls itself once per trailing slash, raises IndexError for `//`, and
    remembers paths and hosts that clients choose.
    """

    def finalize(self, *args: Any, **kwargs: Any) -> None:
        """Build the table."""
        super().finalize(*args, **kwargs)
        self._table: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            for path in (f"/{route.path}", *(() if route.strict else (f"/{route.path}/",))):
                self._table.setdefault(path, {}).update(dict.fromkeys(route.methods, route))

    def get(  # type: ignore[override]  # as Router itself does
        self, path: str, method: str, host: str | None
    ) -> tuple[Route, RouteHandler, dict[str, Any]]:
        """Return the route of a path and a method. Raises NotFound or MethodNotAllowed."""
        del host
        routes = self._table.get(path)
        if routes is None:
            raise NotFound
        route = routes.get(method)
        if route is None:
            raise MethodNotAllowed(method=method, allowed_methods=tuple(routes))
        return route, route.handler, {}
