"""POST /submit: stores a new task, and answers as soon as it is durable."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from sanic import HTTPResponse, Request, json, redirect
from sanic.exceptions import BadRequest, PayloadTooLarge
from sanic.http import Http

from service import html, metrics
from service.batch import submit_batch
from service.batch_submission import BatchSubmission
from service.check import status_of
from service.client_networks import networks_of
from service.deadlines import in_time
from service.errors import BadRequestError, TooLargeError
from service.large_bodies import LargeBodies
from service.negotiation import prefers_html
from service.parameters import ParameterReader
from service.representation import AcceptedBody, represent
from service.submission import (
    MAX_LIST_BYTES,
    CountedOnly,
    Submission,
    most_lines,
    read_submission,
)
from service.submission_writer import SubmissionWriter
from service.waiting import begin_wait, wait_for_end
from tasks.errors import StoreUnavailableError

PIECE_BYTES = 64 * 1024  # of a body, read at once
SHORT_BYTES = 16 * 1024  # longer bodies wait for their turn, and are read in a thread


async def submit(request: Request) -> HTTPResponse:
    """Answer with the id of the new task, or with that of an earlier one with the same key."""
    writer: SubmissionWriter = request.app.ctx.submission_writer
    try:
        submission = await _read(request)
    except (BadRequestError, TooLargeError, BadRequest, PayloadTooLarge):
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
    # Free the list and its place before the client waits for the result.
    del submission
    request.app.ctx.large_bodies.leave(request.protocol)
    return await _answer(request, body)


async def _read(request: Request) -> Submission | BatchSubmission:
    """Return the submission of a request. A long list must not hold up the event loop."""
    threads: ThreadPoolExecutor = request.app.ctx.parsing_threads
    in_thread = partial(asyncio.get_running_loop().run_in_executor, threads)
    large_bodies: LargeBodies = request.app.ctx.large_bodies
    networks = networks_of(request.client_ip)
    reader = ParameterReader(request, most_lines(request.app.ctx.settings))
    size = 0
    try:
        try:
            async for piece in _pieces(request):
                size += len(piece)
                if size <= SHORT_BYTES:
                    reader.feed(piece)
                else:
                    await large_bodies.enter(request.protocol, networks)
                    await in_thread(reader.feed, piece)
        finally:
            await metrics.start_timer(request)  # how fast the client sends is not our doing
        if size <= SHORT_BYTES:
            return read_submission(request, reader)
        return await in_thread(read_submission, request, reader)
    finally:
        if size <= SHORT_BYTES:
            reader.close()
        else:  # a thread may still read a piece although the client has left
            threads.submit(reader.close)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces of about PIECE_BYTES, as what arrives may be far smaller.

    Raises TooLargeError before the body arrives, if its length is stated.
    """
    stream = request.stream
    assert isinstance(stream, Http)
    if (stream.request_bytes_left or 0) > MAX_LIST_BYTES:
        raise TooLargeError.of_body(MAX_LIST_BYTES)
    stream.request_max_size = MAX_LIST_BYTES  # Sanic has just lifted it
    piece = bytearray()
    while data := await stream.read():
        piece += data
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


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
