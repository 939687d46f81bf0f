"""The page: plain files, read once at the start."""

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from sanic import HTTPResponse, Request
from sanic.exceptions import NotFound

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, but asked for each time: an upgrade is seen at once
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


def _read(path: Path) -> _File:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return _File(body, _CONTENT_TYPES[path.suffix], etag)


_FOLDER = Path(__file__).parent
_INDEX = _read(_FOLDER / "index.html")
_FILES = {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _CONTENT_TYPES}
del _FILES["index.html"]  # its links are those of /


async def index(request: Request) -> HTTPResponse:
    """GET /: the page, whatever the query, which its script reads."""
    return _answer(request, _INDEX)


async def file(request: Request, name: str) -> HTTPResponse:
    """GET /page/NAME: a file that the page is made of."""
    if name not in _FILES:
        raise NotFound("There is no such file.")
    return _answer(request, _FILES[name])


def _answer(request: Request, file: _File) -> HTTPResponse:
    headers = {**_HEADERS, "ETag": file.etag}
    # A proxy that compresses makes the tag a weak one.
    if file.etag in request.headers.get("If-None-Match", "").replace("W/", "").split(", "):
        return HTTPResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return HTTPResponse(file.body, headers=headers, content_type=file.content_type)
