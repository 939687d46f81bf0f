"""Plain files that are served as they are, read once at the start."""

import hashlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sanic import HTTPResponse, Request, Sanic
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


def add_routes(app: Sanic[Config, SimpleNamespace], folder: Path, index: str, policy: str) -> None:
    """Serve a folder's index.html at a path, and its other files below its own name.

    `policy` is their Content-Security-Policy. Each file has a route, so that nothing else in the
    folder can be asked for.
    """
    for path in folder.iterdir():
        if path.suffix in _CONTENT_TYPES:
            where = index if path.name == "index.html" else f"/{folder.name}/{path.name}"
            # Not with a slash at the end, from where a page's links would lead elsewhere.
            app.add_route(
                _make_handler(path, policy),
                where,
                methods=["GET"],
                strict_slashes=True,
                name=f"{folder.name}_{path.stem}_{path.suffix[1:]}",
            )


def _make_handler(path: Path, policy: str) -> Handler:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {**_HEADERS, "Content-Security-Policy": policy, "ETag": etag}
    content_type = _CONTENT_TYPES[path.suffix]

    async def answer(request: Request) -> HTTPResponse:
        # A proxy that compresses makes the tag a weak one.
        if etag in request.headers.get("If-None-Match", "").replace("W/", "").split(", "):
            return HTTPResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return HTTPResponse(body, headers=headers, content_type=content_type)

    return answer
