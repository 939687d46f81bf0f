"""What the service answers: submit, check, health."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

from sanic import HTTPResponse, Request, json

from service.admission import Submitter
from service.clients import networks_of
from service.errors import BadRequestError, RefusedError
from service.idempotency import task_id_of
from service.parameters import read_parameters
from service.polling import advise_pause
from settings import VERSION
from tasks.address import parse_address
from tasks.errors import (
    DuplicateTaskError,
    InvalidAddressError,
    InvalidURLError,
    StoreUnavailableError,
)
from tasks.failure import Failure
from tasks.step import Status
from tasks.stores.contract import TaskStore
from tasks.task import Task
from tasks.url import parse_url

# How long a request waits for the store, whose driver tries twice, for longer.
STORE_SECONDS = 5.0
CHECK_SECONDS = 1.5  # how long a question about the health waits for store and broker

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Result = TypeVar("Result")


async def submit(request: Request) -> HTTPResponse:
    """POST /submit: remember a new task, and answer as soon as it is durable."""
    networks = networks_of(request.client_ip)
    try:
        parameters = read_parameters(request, ("url", "email", "md5"))
        url, email, md5 = _parse_submission(parameters)
        task_id = task_id_of(request)
    except BadRequestError:
        with suppress(StoreUnavailableError):  # the client learns which rule it broke all the same
            await _in_time(request.app.ctx.intake.count_refusal(networks))
        raise

    def make(now: datetime) -> Task:
        return Task.new(url, now, email=email, expected_md5=md5, task_id=task_id)

    task: Task
    submitter = Submitter(networks, wants_mail=email is not None)
    try:
        task = await _in_time(request.app.ctx.intake.insert(make, submitter))
    except (DuplicateTaskError, RefusedError):
        # A submission that was accepted before gets its answer again, despite the limits.
        recalled = await _recall(request, task_id, make)
        if recalled is None:
            raise
        task = recalled
    if task.version == 1 and task.dispatched_at is None:  # a repeated one is on its way already
        request.app.ctx.dispatcher.dispatch([task])
    return json(
        {"id": task.id},
        status=HTTPStatus.ACCEPTED,
        headers={"Location": f"/check?id={task.id}"},
    )


async def _recall(
    request: Request, task_id: str | None, make: Callable[[datetime], Task]
) -> Task | None:
    """The task that an earlier request with the same Idempotency-Key has made, if there is one.

    Raises RefusedError if that request had other parameters.
    """
    if task_id is None:
        return None
    task: Task | None = await _in_thread(request, lambda: request.app.ctx.store.get(task_id))
    if task is not None and not task.is_same_order(make(task.submitted_at)):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key belongs to an earlier request with other parameters.",
        )
    return task


def _parse_submission(parameters: dict[str, str]) -> tuple[str, str | None, str | None]:
    if not parameters.get("url"):
        raise BadRequestError("missing_parameter", "url must be given, and not be empty.", "url")
    md5 = parameters.get("md5", "").lower()
    if not re.fullmatch(r"([0-9a-f]{32})?", md5):
        _refuse("md5", "must be 32 hexadecimal digits")
    try:
        url = parse_url(parameters["url"])
    except InvalidURLError as error:
        _refuse("url", str(error))
    try:
        email = parse_address(parameters["email"]) if parameters.get("email") else None
    except InvalidAddressError as error:
        _refuse("email", str(error))
    return url, email, md5 or None


def _refuse(field: str, rule: str) -> NoReturn:
    raise BadRequestError("invalid_parameter", f"{field} {rule.removesuffix('.')}.", field)


async def check(request: Request) -> HTTPResponse:
    """GET /check?id=: tell where a task stands."""
    task_id = read_parameters(request, ("id",)).get("id", "").lower()
    if not task_id:
        raise BadRequestError("missing_parameter", "id must be given, and not be empty.", "id")
    store = request.app.ctx.store
    task = None
    if _ID.fullmatch(task_id):
        task, now = await _in_thread(request, lambda: (store.get(task_id), store.now()))
    if task is None:
        error = {"code": "not_found", "message": "There is no task of this id."}
        return json({"status": "not_found", "error": error}, status=HTTPStatus.NOT_FOUND)
    if task.digest is not None:
        return json(_describe_done(task))
    if task.status is Status.FAILED:
        return json(_describe_failed(task), status=HTTPStatus.FAILED_DEPENDENCY)
    return json(
        _describe_running(task),
        status=HTTPStatus.ACCEPTED,
        headers={"Retry-After": str(advise_pause(task, now))},
    )


def _describe_running(task: Task) -> dict[str, Any]:
    body: dict[str, Any] = {"status": "running", "url": task.url}
    if task.attempt:
        body["attempt"] = task.attempt
    if task.bytes_done is not None:
        body |= {"bytes_done": task.bytes_done, "bytes_total": task.bytes_total}
    if task.retry_at is not None:
        body["retry_at"] = _iso(task.retry_at)
    if task.failure is not None:
        body["error"] = _describe_failure(task.failure)
    return body


def _describe_done(task: Task) -> dict[str, Any]:
    assert task.digest is not None
    body = {
        "md5": task.digest.md5,
        "status": "done",
        "url": task.url,
        "size": task.digest.size,
        "length_verified": task.digest.is_length_verified,
        "final_url": task.digest.final_url,
        **_describe_end(task),
    }
    return body if task.is_verified is None else {**body, "verified": task.is_verified}


def _describe_failed(task: Task) -> dict[str, Any]:
    assert task.failure is not None
    error = _describe_failure(task.failure)
    return {"status": "failed", "url": task.url, "error": error, **_describe_end(task)}


def _describe_failure(failure: Failure) -> dict[str, Any]:
    error: dict[str, Any] = {"code": failure.code, "message": failure.message}
    return error if failure.http_status is None else {**error, "http_status": failure.http_status}


def _describe_end(task: Task) -> dict[str, str]:
    assert task.finished_at is not None
    body = {"submitted_at": _iso(task.submitted_at), "finished_at": _iso(task.finished_at)}
    return body if task.mail_status is None else {**body, "mail_status": task.mail_status}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def live(_request: Request) -> HTTPResponse:
    """GET /health/live: the process answers."""
    return json({"status": "ok", "version": VERSION})


async def ready(request: Request) -> HTTPResponse:
    """GET /health/ready: 200 if the store answers; a broker may be away, tasks wait for it."""
    ctx = request.app.ctx
    is_store_there, is_broker_there = await asyncio.gather(
        answers_in_time(request, partial(pings, ctx.store)),
        answers_in_time(request, partial(ctx.dispatcher.hears_broker, CHECK_SECONDS)),
    )
    body = {
        "status": "ok" if is_store_there else "unavailable",
        "store": "ok" if is_store_there else "unreachable",
        "broker": "ok" if is_broker_there else "unreachable",
        "version": VERSION,
    }
    status = HTTPStatus.OK if is_store_there else HTTPStatus.SERVICE_UNAVAILABLE
    return json(body, status=status)


def pings(store: TaskStore) -> bool:
    try:
        store.ping()
    except StoreUnavailableError:
        return False
    return True


async def answers_in_time(request: Request, check: Callable[[], bool]) -> bool:
    """The outcome of a check in a thread of its own kind; False if it takes too long."""
    threads = request.app.ctx.check_threads
    future = asyncio.get_running_loop().run_in_executor(threads, check)
    try:
        return await asyncio.wait_for(future, CHECK_SECONDS)
    except TimeoutError:
        return False


async def _in_thread(request: Request, call: Callable[[], Result]) -> Result:
    """Call what waits for the store off the event loop, as `_in_time`."""
    threads = request.app.ctx.store_threads
    return await _in_time(asyncio.get_running_loop().run_in_executor(threads, call))


async def _in_time(answer: Awaitable[Result]) -> Result:
    """Wait for the store so long, and no longer; a call that began may still come to its end.

    Raises StoreUnavailableError.
    """
    try:
        return await asyncio.wait_for(answer, STORE_SECONDS)
    except TimeoutError:
        raise StoreUnavailableError(f"no answer within {STORE_SECONDS:.0f} s") from None
