"""Answers with the page about a task: what it shows, and when it refreshes itself."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus

from sanic import HTTPResponse, Request

from service import html, result_page
from service.deadlines import in_thread
from service.errors import refuse_parameter
from service.polling import advise_refresh
from service.representation import represent
from tasks.task import Task


def read_refresh(parameters: Mapping[str, str]) -> bool:
    """Return whether the page is to refresh itself. Raises BadRequestError."""
    refresh = parameters.get("refresh", "")
    if refresh not in ("", "no"):
        refuse_parameter("refresh", "must be no, or be left out")
    return not refresh


async def send_page(
    request: Request, task: Task, now: datetime, status: HTTPStatus, *, is_refreshed: bool
) -> HTTPResponse:
    """Answer with a page, which refreshes itself until the end if it `is_refreshed`."""
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
        is_refreshed=is_refreshed,
        root=html.root_of(request),
    )
    headers = {"Retry-After": str(pause)} if pause else {}
    if pause and is_refreshed:
        headers["Refresh"] = str(pause)
    return html.send(result_page.render(shown), status, headers)
