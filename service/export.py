"""GET /export?id=: the results of a batch, or of one task, as a file."""

import hashlib
from collections.abc import Iterator
from http import HTTPStatus

from sanic import HTTPResponse, Request

from service.check import find_task
from service.deadlines import in_thread
from service.errors import BadRequestError, RefusedError
from service.files import is_known
from service.manifests import CSV, FORMATS, NDJSON, STS, Manifest, sums
from service.parameters import read_parameters
from service.polling import advise_pause
from settings import VERSION
from tasks.digests import Algorithm
from tasks.stores.contract import TaskStore
from tasks.task import Task

PAGE = 500  # tasks read at once
PARAMETERS = ("id", "format", "digest", "names")


async def export(request: Request) -> HTTPResponse | None:
    """Answer with the file, 304 if the client has it, 409 while a task is unfinished, or 404."""
    parameters = read_parameters(request, PARAMETERS)
    manifest = _read_manifest(parameters)
    task, now = await find_task(request, parameters)
    if task.finished_at is None:
        raise RefusedError(
            HTTPStatus.CONFLICT,
            "unfinished",
            "There is nothing to export before everything has ended.",
            {"Retry-After": str(advise_pause(task, now))},
        )
    headers = {
        "ETag": _etag(task, parameters),
        "Content-Disposition": f'attachment; filename="{task.id}.{manifest.extension}"',
    }
    if is_known(request, headers["ETag"]):
        return HTTPResponse(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": headers["ETag"]})
    response = await request.respond(headers=headers, content_type=manifest.media_type)
    if request.method == "HEAD":
        await response.eof()
        return None
    await response.send(manifest.heading.encode())
    await _send_tasks(request, response, task, manifest)
    await response.eof()
    return None


async def _send_tasks(
    request: Request, response: HTTPResponse, task: Task, manifest: Manifest
) -> None:
    """Send the lines page by page, so that memory does not depend on their number."""
    store: TaskStore = request.app.ctx.store
    if task.batch is None:
        await response.send(_encode(manifest.line(task, None)))
        return
    pages = _Pages(store, task.batch.group, manifest)
    while (text := await in_thread(request, pages.next_text)) is not None:
        await response.send(_encode(text))


class _Pages:
    """The text of all members, in pages."""

    def __init__(self, store: TaskStore, group: str, manifest: Manifest) -> None:
        self._store = store
        self._group = group
        self._manifest = manifest
        self._last: Task | None = None

    def next_text(self) -> str | None:
        """Return the lines of the next page; None after the last one."""
        after = -1
        if self._last is not None and self._last.member is not None:
            after = getattr(self._last.member, self._manifest.order)
        page = self._store.members.pages(self._group, self._manifest.order, PAGE, after)
        before, self._last = self._last, page[-1] if page else None
        return "".join(_lines(page, before, self._manifest)) if page else None


def _lines(page: list[Task], before: Task | None, manifest: Manifest) -> Iterator[str]:
    for task in page:
        yield manifest.line(task, before)
        before = task


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _etag(task: Task, parameters: dict[str, str]) -> str:
    """Return a strong validator of what has ended, and of how this version writes it."""
    what = [VERSION, task.id, task.finished_at, *(parameters.get(name) for name in PARAMETERS[1:])]
    return f'"{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}"'


def _read_manifest(parameters: dict[str, str]) -> Manifest:
    name = parameters.get("format") or "csv"
    if name not in FORMATS:
        _refuse("format", f"must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    for option in ("digest", "names"):
        if parameters.get(option) and name != "md5sum":
            _refuse(option, "is for format=md5sum only")
    if name != "md5sum":
        return {"csv": CSV, "ndjson": NDJSON, "sts": STS}[name]
    digest, names = parameters.get("digest") or "md5", parameters.get("names") or "file"
    if digest not in list(Algorithm):
        _refuse("digest", f"must be one of {', '.join(Algorithm)}")
    if names not in ("file", "url"):
        _refuse("names", "must be file or url")
    return sums(Algorithm(digest), is_named_by_url=names == "url")


def _refuse(field: str, rule: str) -> None:
    raise BadRequestError.of_field("invalid_parameter", field, rule)
