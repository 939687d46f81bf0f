"""Errors as HTTP: always JSON, and nothing internal in it."""

import logging
from http import HTTPStatus

from sanic import HTTPResponse, Request, json
from sanic.exceptions import RequestCancelled, SanicException
from sanic.handlers import ErrorHandler

from tasks.errors import (
    DuplicateTaskError,
    NewerTaskError,
    StoreUnavailableError,
    TaskError,
)

TOO_LARGE = 413  # whose name in HTTPStatus became another one with Python 3.13
RETRY_AFTER_SECONDS = 5  # what a client is told to wait while the store is out of reach

_log = logging.getLogger(__name__)


class BadRequestError(Exception):
    """Raised when a request breaks a rule; `field` is the parameter that does, if it is one."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class RefusedError(Exception):
    """Raised when a request is in order, but not now, or not from this client."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class JSONErrorHandler(ErrorHandler):
    """Answers every exception with `{"error": {"code", "message", "field"?}}`."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """The response to an exception that a handler, or Sanic itself, has raised."""
        if isinstance(exception, BadRequestError):
            return _answer(
                HTTPStatus.BAD_REQUEST, exception.code, str(exception), field=exception.field
            )
        if isinstance(exception, RefusedError):
            return _answer(
                exception.status, exception.code, str(exception), headers=exception.headers
            )
        if isinstance(exception, StoreUnavailableError | DuplicateTaskError | NewerTaskError):
            _log.debug("%s %s: %s", request.method, request.path, exception)  # the store has told
            return _try_again(exception)
        if isinstance(exception, RequestCancelled):  # the client is gone: nobody reads this
            return _answer(HTTPStatus.BAD_REQUEST, "cancelled", "The client hung up.")
        if isinstance(exception, SanicException):
            status = HTTPStatus(exception.status_code)
            code = "too_large" if status == TOO_LARGE else status.name.lower()
            return _answer(status, code, f"{status.phrase}.", headers=exception.headers)
        _log.error("%s %s failed", request.method, request.path, exc_info=exception)
        return _answer(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side."
        )


def _try_again(exception: TaskError) -> HTTPResponse:
    """Answer an error of the store. A DuplicateTaskError means that the task has just expired."""
    code, message = (
        ("newer_version", "A newer version of the service has written this task. Please try again.")
        if isinstance(exception, NewerTaskError)
        else (
            "store_unavailable",
            "The service cannot reach its store just now. Please try again.",
        )
    )
    return _answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        code,
        message,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _answer(
    status: HTTPStatus,
    code: str,
    message: str,
    *,
    field: str | None = None,
    headers: dict[str, str] | None = None,
) -> HTTPResponse:
    error = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    return json({"error": error}, status=status, headers=headers)
