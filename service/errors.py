"""Errors as HTTP: JSON, or a page for clients that prefer it, and nothing internal in it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn, NotRequired, Self, TypedDict

from sanic import HTTPResponse, Request, json
from sanic.exceptions import PayloadTooLarge, RequestCancelled, SanicException
from sanic.handlers import ErrorHandler

from service import error_page, html
from service.negotiation import prefers_html
from tasks.errors import (
    DuplicateTaskError,
    NewerTaskError,
    StoreUnavailableError,
    TaskError,
)

TOO_LARGE = 413  # whose name in HTTPStatus became another one with Python 3.13
# The remedy for frequent mistakes with curl.
AS_A_FILE = "Send a list with: curl -F urls=@FILE, or with: curl --data-urlencode urls@FILE"
RETRY_AFTER_SECONDS = 5  # the Retry-After while the store is unreachable

_log = logging.getLogger(__name__)


class ErrorBody(TypedDict):
    """What is wrong with a request."""

    code: str
    message: str
    field: NotRequired[str]
    rule: NotRequired[str]


class ProblemBody(TypedDict):
    """The body of a refusal. `errors` are all of them, if there are several."""

    error: ErrorBody
    errors: NotRequired[list[ErrorBody]]


class BadRequestError(Exception):
    """Raised when a request breaks a rule.

    `field` is the parameter that breaks it, if it is one. The message is then the field and
    `rule`, so that a page can show a label of its own in place of the field. `further` are the
    errors of other parameters of the same request.
    """

    def __init__(
        self, code: str, message: str, field: str | None = None, rule: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.rule = rule
        self.further: Sequence[BadRequestError] = ()

    @classmethod
    def of_field(cls, code: str, field: str, rule: str) -> Self:
        """Return the error for a parameter that breaks a rule, such as "must be a string"."""
        return cls(code, f"{field} {rule}.", field, f"{rule}.")


class RefusedError(Exception):
    """Raised when a valid request is refused: no token, a limit, or a key that was used before."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class UnknownTaskError(RefusedError):
    """Raised when no task has the id of a request."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, "not_found", "No task has this id.")


class ResultsRemovedError(RefusedError):
    """Raised when results of a batch have been removed before the batch."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.NOT_FOUND, "not_found", "Some results of this batch are no longer stored."
        )


class TooLargeError(RefusedError):
    """Raised when a request has more than is allowed. The message names the limit."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus(TOO_LARGE), "too_large", message)

    @classmethod
    def of_body(cls, most: int) -> Self:
        """Return the refusal of a body that has more than `most` bytes."""
        return cls(f"The body may have at most {most:,} bytes.")


class KeyReusedError(RefusedError):
    """Raised when an Idempotency-Key belongs to a request with other parameters."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key belongs to an earlier request with other parameters.",
        )


def refuse_parameter(field: str, rule: str) -> NoReturn:
    """Raise the error for a parameter with an invalid value."""
    raise BadRequestError.of_field("invalid_parameter", field, rule.removesuffix("."))


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is answered instead of what it asked for."""

    status: HTTPStatus
    error: ErrorBody
    headers: dict[str, str] | None = None
    errors: Sequence[ErrorBody] = ()  # all of them, if there are several

    def as_body(self) -> ProblemBody:
        """Return the body of the answer."""
        body: ProblemBody = {"error": self.error}
        if self.errors:
            body["errors"] = list(self.errors)
        return body


class ProblemHandler(ErrorHandler):
    """Answers every exception with `{"error": {"code", "message", "field"?, "rule"?}}`.

    If several parameters break a rule, `errors` lists all of them, the first one included. A
    client that prefers HTML gets a page with the same errors.
    """

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """Return the answer to an exception that a handler, or Sanic itself, has raised.

        Its code stays in `request.ctx.error_code`, where errors are counted.
        """
        is_head = request.method == "NONE"  # Sanic's substitute for a head that could not be read
        if isinstance(exception, PayloadTooLarge) and not is_head and request.stream is not None:
            exception = TooLargeError.of_body(int(request.stream.request_max_size))
        problem = _describe(exception)
        if (request.method, request.path) == ("PUT", "/submit"):  # from curl -T
            problem.error["message"] += f" {AS_A_FILE}."
        if isinstance(exception, TaskError):  # the store has logged it
            _log.debug("%s %s: %s", request.method, request.path, exception)
        elif problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("%s %s failed", request.method, request.path, exc_info=exception)
        request.ctx.error_code = problem.error["code"]
        if prefers_html(request):
            return _send_page(request, problem)
        return json(problem.as_body(), status=problem.status, headers=problem.headers)


def _send_page(request: Request, problem: Problem) -> HTTPResponse:
    errors = problem.errors or [problem.error]
    retry_after = (problem.headers or {}).get("Retry-After")
    page = error_page.render(problem.status, errors, retry_after, root=html.root_of(request))
    return html.send(page, problem.status, problem.headers)


def _describe(exception: Exception) -> Problem:
    match exception:
        case BadRequestError():
            return _describe_bad_request(exception)
        case RefusedError(status=status, code=code, headers=headers):
            return Problem(status, {"code": code, "message": str(exception)}, headers)
        case StoreUnavailableError() | DuplicateTaskError() | NewerTaskError():
            return _describe_of_store(exception)
        case RequestCancelled():  # the client has left
            error: ErrorBody = {"code": "cancelled", "message": "The client closed the connection."}
            return Problem(HTTPStatus.BAD_REQUEST, error)
        case SanicException():
            return _describe_of_sanic(exception)
        case _:
            error = {"code": "internal_error", "message": "Something went wrong on our side."}
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, error)


def _describe_bad_request(exception: BadRequestError) -> Problem:
    errors = [_represent(each) for each in (exception, *exception.further)]
    return Problem(HTTPStatus.BAD_REQUEST, errors[0], errors=errors if exception.further else ())


def _represent(exception: BadRequestError) -> ErrorBody:
    error: ErrorBody = {"code": exception.code, "message": str(exception)}
    if exception.field is not None:
        error["field"] = exception.field
    if exception.rule is not None:
        error["rule"] = exception.rule
    return error


def _describe_of_sanic(exception: SanicException) -> Problem:
    status = HTTPStatus(exception.status_code)
    code = "too_large" if status == TOO_LARGE else status.name.lower()
    return Problem(status, {"code": code, "message": f"{status.phrase}."}, exception.headers)


def _describe_of_store(exception: TaskError) -> Problem:
    """Return the problem of a client that may try again. A duplicate has just expired."""
    error: ErrorBody = {
        "code": "store_unavailable",
        "message": "The service cannot reach its store just now. Please try again.",
    }
    if isinstance(exception, NewerTaskError):
        error = {
            "code": "newer_version",
            "message": "A newer version of the service has written this task. Please try again.",
        }
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, error, headers)
