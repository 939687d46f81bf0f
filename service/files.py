"""Files that are served as they are, read once at the start."""

import hashlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sanic import HTTPResponse, Request, Sanic, redirect
from sanic.config import Config

Handler = Callable[[Request], Coroutine[Any, Any, HTTPResponse]]

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked for each time: an upgrade is seen at once
}


def add_routes(app: Sanic[Config, SimpleNamespace], folder: Path, policy: str) -> None:
    """Serve the files of a folder below its name, except its index.html.

    `policy` is their Content-Security-Policy. Each file has a route, so that nothing else in the
    folder can be requested.
    """
    for path in folder.iterdir():
        if path.suffix in _CONTENT_TYPES and path.name != "index.html":
            name = f"{folder.name}_{path.stem}_{path.suffix[1:]}"
            add_route(app, f"/{folder.name}/{path.name}", path.read_bytes(), policy, name=name)


def add_route(
    app: Sanic[Config, SimpleNamespace], where: str, body: bytes, policy: str, *, name: str
) -> None:
    """Serve a file at a path. The last part of `name`, or HTML, is the type."""
    suffix = f".{name.rpartition('_')[2]}"
    handler = _make_handler(body, _CONTENT_TYPES.get(suffix, _CONTENT_TYPES[".html"]), policy)
    # Not with a slash at the end, from where the links of a page would lead elsewhere.
    app.add_route(handler, where, methods=["GET"], strict_slashes=True, name=name)


def add_redirect(
    app: Sanic[Config, SimpleNamespace], where: str, target: str, *, name: str
) -> None:
    """Redirect a path to a relative URL, which is right below any prefix."""

    async def answer(request: Request) -> HTTPResponse:
        query = f"?{request.query_string}" if request.query_string else ""
        return redirect(f"{target}{query}", status=HTTPStatus.PERMANENT_REDIRECT)

    app.add_route(answer, where, methods=["GET"], strict_slashes=True, name=name)


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has what the tag stands for (RFC 9110 § 13.1.2)."""
    # A proxy that compresses makes the tag a weak one.
    known = request.headers.get("If-None-Match", "").replace("W/", "")
    return known.strip() == "*" or etag in map(str.strip, known.split(","))


def _make_handler(body: bytes, content_type: str, policy: str) -> Handler:
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {**_HEADERS, "Content-Security-Policy": policy, "ETag": etag}

    async def answer(request: Request) -> HTTPResponse:
        if is_known(request, etag):
            return HTTPResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return HTTPResponse(body, headers=headers, content_type=content_type)

    return answer
