"""DELETE /check?id=: cancels a task, or what has not ended of a batch."""

from collections.abc import Callable
from datetime import timedelta

from sanic import HTTPResponse, Request, json

from service.check import find_task, not_found, read_id
from service.deadlines import BATCH_SECONDS, STORE_SECONDS, in_thread
from service.errors import UnknownTaskError
from service.parameters import read_parameters
from service.representation import represent
from tasks.errors import StoreUnavailableError
from tasks.failure import CANCELLED
from tasks.step import Status
from tasks.stores.contract import TaskStore
from tasks.task import Task
from worker import metrics

MAX_TRIES = 20  # against workers that change the task at the same moment


async def cancel(request: Request) -> HTTPResponse:
    """Answer 200 with what `check` returns from now on, or 404. What has ended stays as it is."""
    try:
        task, _ = await find_task(request, read_id(read_parameters(request, ("id",))))
    except UnknownTaskError as error:
        return not_found(error)
    store: TaskStore = request.app.ctx.store
    retention = timedelta(seconds=request.app.ctx.settings.retention)
    if task.finished_at is None:
        cancel_this, seconds = (
            (_cancel_batch, BATCH_SECONDS) if task.batch else (_cancel, STORE_SECONDS)
        )
        task = await in_thread(request, lambda: cancel_this(store, task, retention), seconds)
    return json(represent(task))


def _cancel(store: TaskStore, task: Task, retention: timedelta) -> Task:
    """Cancel a task. A worker that is at it loses its claim, and stops the download."""
    cancelled, is_new = _change(
        store, task, lambda task: task.cancelled(store.now(), retention=retention)
    )
    if is_new:
        metrics.ended.inc(Status.FAILED, CANCELLED.code)
    return cancelled


def _cancel_batch(store: TaskStore, task: Task, retention: timedelta) -> Task:
    """Cancel the members, and then end the batch.

    A kill in between leaves a batch that sends no mail, and ends when its other members have.
    """
    assert task.batch is not None
    group = task.batch.group
    task, _ = _change(store, task, Task.without_deliveries)
    if task.finished_at is not None:  # at this moment, and its mail may need its members
        return task
    for _ in range(MAX_TRIES):
        count = store.members.cancel(group, store.now())
        metrics.ended.inc(Status.FAILED, CANCELLED.code, amount=count)
        if not store.members.is_unfinished(group):
            break
    else:
        raise StoreUnavailableError("members change while they are cancelled")
    tally, now = store.members.tally(group), store.now()
    store.members.expire(group, now + retention)
    task, _ = _change(
        store, task, lambda task: task.cancelled(now, retention=retention, tally=tally)
    )
    return task


def _change(store: TaskStore, task: Task, change: Callable[[Task], Task]) -> tuple[Task, bool]:
    """Save a change of a task that has not ended, and try again if a worker has changed it.

    Returns the task, and whether this change was saved.
    """
    for _ in range(MAX_TRIES):
        if task.finished_at is not None:
            return task, False
        saved = store.save(change(task))
        if saved is not None:
            return saved, True
        current = store.get(task.id)
        if current is None:
            raise UnknownTaskError
        task = current
    raise StoreUnavailableError("the task changes while it is cancelled")
