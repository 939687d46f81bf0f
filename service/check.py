"""GET /check?id=: reports the state of a task, as JSON or as a page."""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from sanic import HTTPResponse, Request, json

from service.deadlines import in_thread
from service.errors import BadRequestError, UnknownTaskError
from service.negotiation import prefers_html
from service.parameters import read_parameters
from service.polling import advise_pause
from service.representation import represent
from service.task_page import read_refresh, send_page
from service.waiting import begin_wait, wait_for_end
from tasks.step import Status
from tasks.stores.contract import TaskStore
from tasks.task import Task

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STATUSES = {Status.DONE: HTTPStatus.OK, Status.FAILED: HTTPStatus.FAILED_DEPENDENCY}


async def check(request: Request) -> HTTPResponse:
    """Answer 200 if the task is done, 424 if it has failed, 202 until then, or 404."""
    is_for_people = prefers_html(request)
    parameters = read_parameters(request, ("id", "refresh") if is_for_people else ("id",))
    is_refreshed = read_refresh(parameters)
    try:
        task, now = await find_ended_task(request, read_id(parameters))
    except UnknownTaskError as error:
        if is_for_people:
            raise
        return not_found(error)
    status = status_of(task)
    if is_for_people:
        return await send_page(request, task, now, status, is_refreshed=is_refreshed)
    is_unfinished = status is HTTPStatus.ACCEPTED
    headers = {"Retry-After": str(advise_pause(task, now))} if is_unfinished else None
    return json(represent(task), status=status, headers=headers)


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
