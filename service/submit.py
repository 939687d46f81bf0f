"""POST /submit: stores a new task, and answers as soon as it is durable."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from sanic import HTTPResponse, Request, json, redirect

from service import html
from service.batch import submit_batch
from service.batch_submission import BatchSubmission
from service.check import status_of
from service.client_networks import networks_of
from service.deadlines import in_time
from service.errors import BadRequestError, TooLargeError
from service.negotiation import prefers_html
from service.representation import AcceptedBody, represent
from service.submission import CountedOnly, Submission, read_submission
from service.submission_writer import SubmissionWriter
from service.waiting import begin_wait, wait_for_end
from tasks.errors import StoreUnavailableError

SHORT_BODY_BYTES = 16 * 1024  # longer ones are read in a thread


async def submit(request: Request) -> HTTPResponse:
    """Answer with the id of the new task, or with that of an earlier one with the same key."""
    writer: SubmissionWriter = request.app.ctx.submission_writer
    try:
        submission = await _read(request)
    except (BadRequestError, TooLargeError):
        invalid = CountedOnly(networks_of(request.client_ip))
        with suppress(StoreUnavailableError):  # the client still learns which rule it broke
            await in_time(writer.count(invalid))
        raise
    if isinstance(submission, BatchSubmission):
        body = AcceptedBody(id=await submit_batch(request, submission), total=submission.size)
    else:
        submitted = await in_time(writer.submit(submission))
        if submitted.needs_message:
            request.app.ctx.dispatcher.dispatch([submitted.task])
        body = AcceptedBody(id=submitted.task.id)
    # Free the body and its place before the client waits for the result.
    del submission
    request.body = b""
    request.app.ctx.large_bodies.leave(request.protocol)
    return await _answer(request, body)


async def _read(request: Request) -> Submission | BatchSubmission:
    """Return the submission of a request. A long list must not hold up the event loop."""
    if len(request.body) <= SHORT_BODY_BYTES:
        return read_submission(request)
    threads = request.app.ctx.parsing_threads
    return await asyncio.get_running_loop().run_in_executor(threads, read_submission, request)


async def _answer(request: Request, body: AcceptedBody) -> HTTPResponse:
    """Answer 202, or with the result if the client prefers to wait and the task ends in time.

    A client that prefers HTML is sent to the page about the task.
    """
    if prefers_html(request):
        page = f"{html.root_of(request)}check?id={body['id']}"
        return redirect(page, status=HTTPStatus.SEE_OTHER)
    # Not relative, as for pages: programs put the host in front of it.
    where = f"{request.app.ctx.settings.public_path}/check?id={body['id']}"
    seconds = begin_wait(request)
    ended = await wait_for_end(request, body["id"], seconds) if seconds else None
    if ended is None:
        return json(body, status=HTTPStatus.ACCEPTED, headers={"Location": where})
    result = {"id": ended.id, **represent(ended)}
    return json(result, status=status_of(ended), headers={"Content-Location": where})
