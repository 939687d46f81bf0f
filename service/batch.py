"""Takes in a batch: durable before it is answered, and all or nothing."""

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from itertools import chain, islice

from sanic import Request

from service.batch_submission import BatchSubmission
from service.deadlines import in_thread, in_time
from service.errors import RefusedError
from service.submission_writer import SubmissionWriter
from tasks.batch import Batch
from tasks.errors import DuplicateTaskError
from tasks.stores.contract import TaskStore
from tasks.task import Task

CHUNK = 100  # tasks in one write, which other requests may have to wait for


async def submit_batch(request: Request, submission: BatchSubmission) -> Task:
    """Store a batch, and return its task once everything is durable.

    The members come first and are invisible until the batch is there. An interruption before that
    leaves nothing that is ever downloaded. The same submission with the same Idempotency-Key
    completes it. Raises RefusedError and StoreUnavailableError.
    """
    ctx = request.app.ctx
    store: TaskStore = ctx.store
    if (earlier := await _find_earlier(request, submission)) is not None:
        return earlier
    writer: SubmissionWriter = ctx.submission_writer
    await in_time(writer.count(submission))
    batch = await in_thread(request, lambda: submission.as_batch(store.now()))
    lanes = list(submission.lanes(batch, ctx.settings.batch_per_host))
    rest = chain(submission.members(batch), lanes)
    while await in_thread(request, partial(_insert_some, store, rest)):
        pass
    if await in_thread(request, lambda: store.insert_all([batch])):
        earlier = await _find_earlier(request, submission)
        if earlier is None:
            raise DuplicateTaskError(batch.id)
        batch = earlier
    await in_thread(request, lambda: store.members.activate(_part(batch).group))
    ctx.dispatcher.dispatch([batch, *lanes])
    return batch


def _insert_some(store: TaskStore, rest: Iterator[Task]) -> bool:
    """Insert the next tasks. Those that an earlier request has inserted are skipped."""
    chunk = list(islice(rest, CHUNK))
    store.insert_all(chunk)
    return bool(chunk)


async def _find_earlier(request: Request, submission: BatchSubmission) -> Task | None:
    """Return the batch of an earlier request with the same Idempotency-Key, once it is complete.

    Raises RefusedError if that request had other parameters.
    """
    task_id, store = submission.task_id, request.app.ctx.store
    if task_id is None:
        return None
    earlier: Task | None = await in_thread(request, lambda: store.get(task_id))
    if earlier is None:
        return None
    if earlier.batch is None or earlier.batch.fingerprint != submission.fingerprint:
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key belongs to an earlier request with other parameters.",
        )
    group = earlier.batch.group
    await in_thread(request, lambda: store.members.activate(group))
    return earlier


def _part(task: Task) -> Batch:
    assert task.batch is not None
    return task.batch
