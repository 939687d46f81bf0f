"""GET /export?id=: the results of a batch, or of one task, as a file."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from functools import partial
from http import HTTPStatus

from sanic import HTTPResponse, Request

from service.broken_rules import BrokenRules
from service.check import find_ended_task, read_id
from service.deadlines import BATCH_SECONDS, in_thread
from service.errors import RefusedError, ResultsRemovedError, refuse_parameter
from service.files import is_known
from service.manifests import CSV, NDJSON, STS, Manifest, sums
from service.parameters import collect_parameters
from service.polling import advise_pause
from settings import VERSION
from tasks.checksums import FORMATS
from tasks.digests import Algorithm
from tasks.stores.contract import TaskStore
from tasks.stores.paging import in_pages
from tasks.task import Task

_log = logging.getLogger(__name__)

PAGE = 500  # tasks read at once
PARAMETERS = ("id", "format", "digest", "names")


async def export(request: Request) -> HTTPResponse | None:
    """Answer with the file, 304 if the client has it, 409 while a task is unfinished, or 404."""
    with BrokenRules() as broken:
        parameters = collect_parameters(request, PARAMETERS, broken)
        manifest = _read_manifest(parameters, broken)
        task_id = broken.read(lambda: read_id(parameters), "")
    task, now = await find_ended_task(request, task_id)
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
    await _check_members(request, task)
    response = await request.respond(headers=headers, content_type=manifest.media_type)
    if request.method == "HEAD":
        await response.eof()
        return None
    await response.send(manifest.heading.encode())
    try:
        await _send_tasks(request, response, task, manifest)
    except BaseException:
        # Sanic would end the answer as if it were complete.
        request.transport.abort()  # type: ignore[attr-defined]  # asyncio's
        raise
    await response.eof()
    return None


async def _check_members(request: Request, task: Task) -> None:
    """Raises ResultsRemovedError if results of a batch have been removed already."""
    if task.batch is None:
        return
    count = partial(request.app.ctx.store.members.count, task.batch.group)
    if await in_thread(request, count, BATCH_SECONDS) < task.batch.total:
        raise ResultsRemovedError


async def _send_tasks(
    request: Request, response: HTTPResponse, task: Task, manifest: Manifest
) -> None:
    """Send the lines page by page, so that memory does not depend on their number.

    Raises ResultsRemovedError if results of a batch are removed before they are sent.
    """
    store: TaskStore = request.app.ctx.store
    if task.batch is None:
        await response.send(_encode(manifest.line(task, None)))
        return
    read = partial(store.members.pages, task.batch.group, manifest.order, PAGE)
    texts = _render_pages(in_pages(read, manifest.order), manifest)
    remaining = task.batch.total
    while (page := await in_thread(request, lambda: next(texts, None))) is not None:
        text, count = page
        remaining -= count
        await response.send(_encode(text))
    if remaining:
        _log.warning("an export was cut off, because results have been removed")
        raise ResultsRemovedError


def _render_pages(pages: Iterable[list[Task]], manifest: Manifest) -> Iterator[tuple[str, int]]:
    """Yield the text of each page and the number of its tasks."""
    before: Task | None = None
    for page in pages:
        lines = []
        for task in page:
            lines.append(manifest.line(task, before))
            if lines[-1]:
                before = task
        yield "".join(lines), len(page)


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _etag(task: Task, parameters: dict[str, str]) -> str:
    """Return a strong validator of what has ended, and of how this version writes it."""
    options = [parameters.get(name) for name in PARAMETERS[1:]]
    what = [VERSION, task.id, task.finished_at, task.mail_status, *options]
    return f'"{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"'


def _read_manifest(parameters: dict[str, str], broken: BrokenRules) -> Manifest:
    name = parameters.get("format") or "csv"
    options = {option: text for option in ("digest", "names") if (text := parameters.get(option))}
    if name == "md5sum":
        digest = broken.read(lambda: _read_digest(options.get("digest", "md5")), Algorithm.MD5)
        names = broken.read(lambda: _read_names(options.get("names", "file")), "file")
        return sums(digest, is_named_by_url=names == "url")
    manifest = broken.read(lambda: _read_format(name), CSV)
    for option in options:
        broken.read(partial(refuse_parameter, option, "is for format=md5sum only"), None)
    return manifest


def _read_format(name: str) -> Manifest:
    if name not in FORMATS:
        refuse_parameter("format", f"must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return {"csv": CSV, "ndjson": NDJSON, "sts": STS}[name]


def _read_digest(name: str) -> Algorithm:
    if name not in list(Algorithm):
        refuse_parameter("digest", f"must be one of {', '.join(Algorithm)}")
    return Algorithm(name)


def _read_names(names: str) -> str:
    if names not in ("file", "url"):
        refuse_parameter("names", "must be file or url")
    return names
