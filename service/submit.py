"""POST /submit: stores a new task, and answers as soon as it is durable."""

from contextlib import suppress
from http import HTTPStatus

from sanic import HTTPResponse, Request, json

from service.client_networks import networks_of
from service.deadlines import in_time
from service.errors import BadRequestError
from service.representation import AcceptedBody
from service.submission import InvalidSubmission, read_submission
from service.submission_writer import SubmissionWriter
from tasks.errors import StoreUnavailableError


async def submit(request: Request) -> HTTPResponse:
    """Answer with the id of the new task, or with that of an earlier one with the same key."""
    writer: SubmissionWriter = request.app.ctx.submission_writer
    try:
        submission = read_submission(request)
    except BadRequestError:
        invalid = InvalidSubmission(networks_of(request.client_ip))
        with suppress(StoreUnavailableError):  # the client still learns which rule it broke
            await in_time(writer.count(invalid))
        raise
    submitted = await in_time(writer.submit(submission))
    if submitted.needs_message:
        request.app.ctx.dispatcher.dispatch([submitted.task])
    task_id = submitted.task.id
    body: AcceptedBody = {"id": task_id}
    headers = {"Location": f"/check?id={task_id}"}
    return json(body, status=HTTPStatus.ACCEPTED, headers=headers)
