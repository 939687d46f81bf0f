"""POST /submit: stores a new task, and answers as soon as it is durable."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from sanic import HTTPResponse, Request, json

from service.batch import submit_batch
from service.batch_submission import BatchSubmission
from service.client_networks import networks_of
from service.deadlines import in_time
from service.errors import BadRequestError, TooLargeError
from service.representation import AcceptedBody
from service.submission import InvalidSubmission, Submission, read_submission
from service.submission_writer import SubmissionWriter
from tasks.errors import StoreUnavailableError

SHORT_BODY_BYTES = 16 * 1024  # longer ones are read in a thread


async def submit(request: Request) -> HTTPResponse:
    """Answer with the id of the new task, or with that of an earlier one with the same key."""
    writer: SubmissionWriter = request.app.ctx.submission_writer
    try:
        submission = await _read(request)
    except (BadRequestError, TooLargeError):
        invalid = InvalidSubmission(networks_of(request.client_ip))
        with suppress(StoreUnavailableError):  # the client still learns which rule it broke
            await in_time(writer.count(invalid))
        raise
    if isinstance(submission, BatchSubmission):
        batch_id = await submit_batch(request, submission)
        return _accepted({"id": batch_id, "total": submission.size})
    submitted = await in_time(writer.submit(submission))
    if submitted.needs_message:
        request.app.ctx.dispatcher.dispatch([submitted.task])
    return _accepted({"id": submitted.task.id})


async def _read(request: Request) -> Submission | BatchSubmission:
    """Return the submission of a request. A long list must not hold up the event loop."""
    if len(request.body) <= SHORT_BODY_BYTES:
        return read_submission(request)
    threads = request.app.ctx.parsing_threads
    return await asyncio.get_running_loop().run_in_executor(threads, read_submission, request)


def _accepted(body: AcceptedBody) -> HTTPResponse:
    headers = {"Location": f"/check?id={body['id']}"}
    return json(body, status=HTTPStatus.ACCEPTED, headers=headers)
