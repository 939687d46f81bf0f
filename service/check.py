"""GET /check?id=: reports the state of a task, as JSON or as a page."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus

from sanic import HTTPResponse, Request, json

from service import html, result_page
from service.deadlines import in_thread
from service.errors import BadRequestError, UnknownTaskError, refuse_parameter
from service.negotiation import prefers_html
from service.parameters import read_parameters
from service.polling import advise_pause, advise_refresh
from service.representation import represent
from service.waiting import begin_wait, wait_for_end
from tasks.step import Status
from tasks.stores.contract import TaskStore
from tasks.task import Task

PAGE = 500  # tasks read at once

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATUSES = {Status.DONE: HTTPStatus.OK, Status.FAILED: HTTPStatus.FAILED_DEPENDENCY}


async def check(request: Request) -> HTTPResponse:
    """Answer 200 if the task is done, 424 if it has failed, 202 until then, or 404."""
    is_for_people = prefers_html(request)
    parameters = read_parameters(request, ("id", "refresh") if is_for_people else ("id",))
    try:
        task, now = await find_ended_task(request, read_id(parameters))
    except UnknownTaskError as error:
        if is_for_people:
            raise
        return not_found(error)
    if is_for_people:
        return await _send_page(request, task, now, parameters.get("refresh", ""))
    status = status_of(task)
    is_unfinished = status is HTTPStatus.ACCEPTED
    headers = {"Retry-After": str(advise_pause(task, now))} if is_unfinished else None
    return json(represent(task), status=status, headers=headers)


async def _send_page(request: Request, task: Task, now: datetime, refresh: str) -> HTTPResponse:
    """Answer with a page, which refreshes itself until the end unless `refresh` is "no"."""
    if refresh not in ("", "no"):
        refuse_parameter("refresh", "must be no, or be left out")
    status = status_of(task)
    pause = advise_refresh(task, now) if status is HTTPStatus.ACCEPTED else None
    failures: list[Task] = []
    if task.batch is not None and task.batch.tally.failed:
        read = partial(request.app.ctx.store.members.failed, task.batch.group)
        failures = await in_thread(request, lambda: read(result_page.MAX_FAILURES))
    shown = result_page.Shown(
        task_id=task.id,
        body=represent(task),
        failures=[represent(each) for each in failures],
        pause=pause,
        is_refreshed=not refresh,
        root=html.root_of(request),
    )
    headers = {"Retry-After": str(pause)} if pause else {}
    if pause and not refresh:
        headers["Refresh"] = str(pause)
    return html.send(result_page.render(shown), status, headers)


def not_found(error: UnknownTaskError) -> HTTPResponse:
    """Return the answer about a task that does not exist."""
    body = {"status": "not_found", "error": {"code": error.code, "message": str(error)}}
    return json(body, status=error.status)


def status_of(task: Task) -> HTTPStatus:
    """Return the status code that says what has become of a task."""
    return _STATUSES.get(task.status, HTTPStatus.ACCEPTED)


def read_id(parameters: Mapping[str, str]) -> str:
    """Return the parameter `id`. Raises BadRequestError if it is missing."""
    task_id = parameters.get("id", "").lower()
    if not task_id:
        raise BadRequestError.of_field("missing_parameter", "id", "must be given, and not be empty")
    return task_id


async def find_ended_task(request: Request, task_id: str) -> tuple[Task, datetime]:
    """Do as `find_task`, but wait for the end of the task if the client prefers that."""
    task, now = await find_task(request, task_id)
    seconds = begin_wait(request)
    if not seconds or task.finished_at is not None:
        return task, now
    ended = await wait_for_end(request, task.id, seconds)
    return (ended, now) if ended else await find_task(request, task_id)


async def find_task(request: Request, task_id: str) -> tuple[Task, datetime]:
    """Return the task or batch with that id, and the time of the store.

    Raises UnknownTaskError, NewerTaskError and StoreUnavailableError.
    """
    store: TaskStore = request.app.ctx.store
    if not _ID.fullmatch(task_id):
        raise UnknownTaskError
    task, now = await in_thread(request, lambda: (store.get(task_id), store.now()))
    if task is None or task.lane is not None:
        raise UnknownTaskError
    return task, now
