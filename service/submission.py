"""A submission: what a client asks for, before it is a task."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from sanic import Request

from service.client_networks import networks_of
from service.errors import BadRequestError
from service.idempotency import task_id_of
from service.parameters import read_parameters
from tasks.address import parse_address
from tasks.errors import InvalidAddressError, InvalidURLError
from tasks.task import Task
from tasks.url import parse_url

PARAMETERS = ("url", "email", "md5")

_MD5 = re.compile(r"([0-9a-f]{32})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A valid submission. `networks` are those of the client, the narrowest first."""

    url: str
    email: str | None = None
    expected_md5: str | None = None
    task_id: str | None = None  # None: a new one
    networks: tuple[str, ...]

    def as_task(self, now: datetime) -> Task:
        """Return the new task that it asks for."""
        return Task.new(
            self.url,
            now,
            email=self.email,
            expected_md5=self.expected_md5,
            task_id=self.task_id,
        )

    def is_for(self, task: Task) -> bool:
        """Whether a task came from the same submission, whatever has become of it."""
        return (self.url, self.email, self.expected_md5) == (
            task.url,
            task.email,
            task.expected_md5,
        )


@dataclass(frozen=True, slots=True)
class InvalidSubmission:
    """A submission that broke a rule. It only counts for the limits of its client."""

    networks: tuple[str, ...]


def read_submission(request: Request) -> Submission:
    """Return the submission of a request. Raises BadRequestError, which names the parameter."""
    parameters = read_parameters(request, PARAMETERS)
    if not parameters.get("url"):
        raise BadRequestError.of_field(
            "missing_parameter", "url", "must be given, and not be empty"
        )
    return Submission(
        url=_read_url(parameters["url"]),
        email=_read_email(parameters.get("email", "")),
        expected_md5=_read_md5(parameters.get("md5", "")),
        task_id=task_id_of(request),
        networks=networks_of(request.client_ip),
    )


def _read_url(text: str) -> str:
    try:
        return parse_url(text)
    except InvalidURLError as error:
        _refuse("url", str(error))


def _read_email(text: str) -> str | None:
    try:
        return parse_address(text) if text else None
    except InvalidAddressError as error:
        _refuse("email", str(error))


def _read_md5(text: str) -> str | None:
    if not _MD5.fullmatch(text.lower()):
        _refuse("md5", "must be 32 hexadecimal digits")
    return text.lower() or None


def _refuse(field: str, rule: str) -> NoReturn:
    raise BadRequestError.of_field("invalid_parameter", field, rule.removesuffix("."))
