"""Takes in a batch: durable before it is answered, and all or nothing."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice

from sanic import Request

from service.batch_submission import BatchSubmission, Parts
from service.deadlines import BATCH_SECONDS, in_thread, in_time
from service.errors import KeyReusedError, RefusedError
from service.submission import CountedOnly
from service.submission_writer import SubmissionWriter
from tasks.batch import NOTHING_ENDED
from tasks.errors import DuplicateTaskError
from tasks.stores.contract import TaskStore
from tasks.task import Task

CHUNK = 500  # tasks in one write, which other requests may have to wait for
# At most this many lanes get a message at once, because the messages of single tasks queue behind
# them. A sweeper sends the rest.
MESSAGES = 500


async def submit_batch(request: Request, submission: BatchSubmission) -> str:
    """Store a batch, and return its id once everything is durable.

    The members come first and are invisible until the batch is there. An interruption before that
    leaves nothing that is ever downloaded. The same submission with the same Idempotency-Key
    completes it. Raises RefusedError, DuplicateTaskError and StoreUnavailableError.
    """
    ctx = request.app.ctx
    store: TaskStore = ctx.store
    per_host: int = ctx.settings.batch_per_host
    parts = await in_thread(request, lambda: submission.parts(store.now(), per_host), BATCH_SECONDS)
    activate = partial(store.members.activate, parts.group)
    writer: SubmissionWriter = ctx.submission_writer
    repetition = CountedOnly(submission.networks)
    if submission.task_id is None:
        await in_time(writer.count(submission))
    elif (earlier := await _find_earlier(request, parts)) is not None:
        with suppress(RefusedError):  # the client gets its batch again despite the limit
            await in_time(writer.count(repetition))
            if _is_new(earlier):  # some members may have expired before they were activated
                await _insert(request, parts)
            await in_thread(request, activate, BATCH_SECONDS)
        return parts.batch.id
    else:
        has_begun = await in_thread(request, lambda: store.members.is_unfinished(parts.group))
        await in_time(writer.count(repetition if has_begun else submission))
    has_leftovers = await _insert(request, parts)
    if has_leftovers and await _remove_expired_results(request, parts):
        await _insert(request, parts)
    is_taken = await in_thread(request, lambda: store.insert_all([parts.batch]))
    if is_taken and await _find_earlier(request, parts) is None:
        raise DuplicateTaskError(parts.batch.id)
    await in_thread(request, activate, BATCH_SECONDS)
    if has_leftovers:  # of which some may have expired before they were activated
        await _insert(request, parts)
        await in_thread(request, activate, BATCH_SECONDS)
    ctx.dispatcher.dispatch([parts.batch, *parts.lanes[:MESSAGES]])
    return parts.batch.id


async def _find_earlier(request: Request, parts: Parts) -> Task | None:
    """Return the batch if it was submitted before.

    Raises RefusedError if its parameters were others.
    """
    store: TaskStore = request.app.ctx.store
    earlier = await in_thread(request, lambda: store.get(parts.batch.id))
    if earlier is not None and (earlier.batch is None or earlier.batch.group != parts.group):
        raise KeyReusedError
    return earlier


def _is_new(batch: Task) -> bool:
    """Return whether no member of a batch is known to have ended."""
    is_untouched = batch.batch is not None and batch.batch.tally == NOTHING_ENDED
    return is_untouched and batch.finished_at is None


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
