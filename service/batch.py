"""Takes in a batch: durable before it is answered, and all or nothing."""

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

from sanic import Request

from service.batch_submission import BatchSubmission, Parts
from service.deadlines import BATCH_SECONDS, in_thread, in_time
from service.errors import KeyReusedError
from service.submission_writer import SubmissionWriter
from tasks.errors import DuplicateTaskError
from tasks.stores.contract import TaskStore
from tasks.task import Task

CHUNK = 500  # tasks in one write, which other requests may have to wait for


async def submit_batch(request: Request, submission: BatchSubmission) -> str:
    """Store a batch, and return its id once everything is durable.

    The members come first and are invisible until the batch is there. An interruption before that
    leaves nothing that is ever downloaded. The same submission with the same Idempotency-Key
    completes it. Raises RefusedError, DuplicateTaskError and StoreUnavailableError.
    """
    ctx = request.app.ctx
    store: TaskStore = ctx.store
    per_host: int = ctx.settings.batch_per_host
    parts = await in_thread(request, lambda: submission.parts(store.now(), per_host))
    activate = partial(store.members.activate, parts.group)
    if submission.task_id is not None and await _is_there(request, parts):
        await in_thread(request, activate, BATCH_SECONDS)
        return parts.batch.id
    writer: SubmissionWriter = ctx.submission_writer
    await in_time(writer.count(submission))
    has_leftovers = await _insert(request, parts)
    if has_leftovers and await _remove_expired_results(request, parts):
        await _insert(request, parts)
    is_taken = await in_thread(request, lambda: store.insert_all([parts.batch]))
    if is_taken and not await _is_there(request, parts):
        raise DuplicateTaskError(parts.batch.id)
    await in_thread(request, activate, BATCH_SECONDS)
    if has_leftovers:  # of which some may have expired before they were activated
        await _insert(request, parts)
        await in_thread(request, activate, BATCH_SECONDS)
    ctx.dispatcher.dispatch([parts.batch, *parts.lanes])
    return parts.batch.id


async def _is_there(request: Request, parts: Parts) -> bool:
    """Whether the batch was submitted before. Raises RefusedError if its parameters were others."""
    store: TaskStore = request.app.ctx.store
    earlier = await in_thread(request, lambda: store.get(parts.batch.id))
    if earlier is not None and (earlier.batch is None or earlier.batch.group != parts.group):
        raise KeyReusedError
    return earlier is not None


async def _remove_expired_results(request: Request, parts: Parts) -> int:
    """Remove the results of an expired batch with the same key; return their number.

    If a batch has an email, its members expire later than the batch.
    """
    members = request.app.ctx.store.members
    remove = partial(members.remove_ended, parts.group, parts.batch.submitted_at)
    return await in_thread(request, remove, BATCH_SECONDS)


async def _insert(request: Request, parts: Parts) -> bool:
    """Insert the members and lanes. Return whether an earlier request had inserted some."""
    rest = chain(parts.members(), parts.lanes)
    insert = partial(_insert_some, request.app.ctx.store, rest)
    is_any_taken = False
    while (taken := await in_thread(request, insert)) is not None:
        is_any_taken = is_any_taken or bool(taken)
    return is_any_taken


def _insert_some(store: TaskStore, rest: Iterator[Task]) -> set[str] | None:
    """Insert the next tasks, and return the ids that were taken; None at the end."""
    chunk = list(islice(rest, CHUNK))
    return store.insert_all(chunk) if chunk else None
