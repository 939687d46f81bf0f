"""A submission: what a client asks for, before it is a task."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sanic import Request

from service.batch_submission import BatchSubmission
from service.broken_rules import BrokenRules
from service.client_networks import networks_of
from service.errors import BadRequestError, TooLargeError, refuse_parameter
from service.fields import MAX_TEXT_LENGTH
from service.idempotency import task_id_of
from service.lines import Entry, LineReader
from service.parameters import ParameterReader
from settings import Settings
from tasks.address import parse_address
from tasks.digests import ALWAYS, NOTHING_EXPECTED, Algorithm, Expected
from tasks.errors import InvalidAddressError, InvalidURLError
from tasks.task import Task
from tasks.url import parse_url

PARAMETERS = ("url", "urls", "email", "digests", *Algorithm)

MAX_SINGLE_BYTES = 64 * 1024  # of a body without a list
MAX_LIST_BYTES = 4 * 1024 * 1024  # of a body that may have one

_HEXADECIMAL = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A valid submission. `networks` are those of the client, the narrowest first."""

    url: str
    email: str | None = None
    expected: Expected = NOTHING_EXPECTED
    requested: tuple[Algorithm, ...] = ()
    task_id: str | None = None  # None: a new one
    networks: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many tasks it makes."""
        return 1

    def as_task(self, now: datetime) -> Task:
        """Return the new task that it asks for."""
        return Task.new(
            self.url,
            now,
            email=self.email,
            expected=self.expected,
            requested=self.requested,
            task_id=self.task_id,
        )

    def is_for(self, task: Task) -> bool:
        """Whether a task came from the same submission, whatever has become of it."""
        ours = (self.url, self.email, self.expected, self.requested)
        return ours == (task.url, task.email, task.expected, task.requested)


@dataclass(frozen=True, slots=True)
class CountedOnly:
    """A request that makes no task, or whose tasks were counted before.

    It counts for the rate at which its client may submit, and for no other limit.
    """

    networks: tuple[str, ...]
    email: None = None
    size: int = 0


def most_lines(settings: Settings) -> int:
    """Return how many URLs a list may have. A larger batch would never be admitted."""
    limits = (settings.max_batch, settings.urls_per_hour or settings.max_batch)  # 0: no limit
    return min(*limits, settings.max_unfinished)


def read_submission(request: Request, reader: ParameterReader) -> Submission | BatchSubmission:
    """Return the submission of a request whose body the reader has taken.

    Raises BadRequestError, which names all parameters that break a rule, and TooLargeError.
    """
    with BrokenRules() as broken:
        parameters = reader.read(PARAMETERS, broken)
        texts, lines = parameters.texts, parameters.lines
        # An empty field of a form is one that was left out.
        if lines is None or (lines.is_empty and texts.get("url")):
            if reader.size > MAX_SINGLE_BYTES:
                raise TooLargeError(
                    f"The body may have at most {MAX_SINGLE_BYTES:,} bytes without urls."
                )
            return _read_single(request, texts, broken)
        if parameters.are_truncated:
            raise TooLargeError(
                f"All parameters but urls may have at most {MAX_TEXT_LENGTH:,} characters."
            )
        return _read_batch(request, texts, lines, broken)


def _read_single(
    request: Request, parameters: Mapping[str, str], broken: BrokenRules
) -> Submission:
    return Submission(
        url=broken.read(lambda: _read_url(parameters.get("url", "")), ""),
        email=broken.read(lambda: _read_email(parameters.get("email", "")), None),
        requested=broken.read(lambda: _read_requested(parameters.get("digests", "")), ()),
        expected=_read_expected(parameters, broken),
        task_id=broken.read(lambda: task_id_of(request), None),
        networks=networks_of(request.client_ip),
    )


def _read_batch(
    request: Request, parameters: Mapping[str, str], lines: LineReader, broken: BrokenRules
) -> BatchSubmission:
    for name in ("url", *Algorithm):
        if parameters.get(name):
            broken.read(partial(refuse_parameter, name, "cannot be given together with urls"), None)
    most = most_lines(request.app.ctx.settings)
    return BatchSubmission(
        entries=broken.read(lambda: _read_entries(lines, most), []),
        email=broken.read(lambda: _read_email(parameters.get("email", "")), None),
        requested=broken.read(lambda: _read_requested(parameters.get("digests", "")), ()),
        task_id=broken.read(lambda: task_id_of(request), None),
        networks=networks_of(request.client_ip),
    )


def _read_entries(lines: LineReader, most: int) -> list[Entry]:
    if not most:
        refuse_parameter("urls", "is not accepted, as this service takes no batches")
    entries = lines.entries()
    if lines.count > most:
        raise TooLargeError(
            f"A batch may have at most {most:,} URLs. This one has {lines.count:,}."
        )
    return entries


def _read_url(text: str) -> str:
    if not text:
        raise BadRequestError.of_field(
            "missing_parameter", "url", "must be given, and not be empty"
        )
    try:
        return parse_url(text)
    except InvalidURLError as error:
        refuse_parameter("url", str(error))


def _read_email(text: str) -> str | None:
    try:
        return parse_address(text) if text else None
    except InvalidAddressError as error:
        refuse_parameter("email", str(error))


def _read_requested(text: str) -> tuple[Algorithm, ...]:
    """Return the digests to compute besides those of every download, in the order of the rows."""
    names = {name.strip(" ") for name in text.split(",")} if text else set()
    if not names <= set(Algorithm):
        refuse_parameter(
            "digests", f"must be one or more of {', '.join(Algorithm)}, separated by commas"
        )
    return tuple(each for each in Algorithm if each in names and each not in ALWAYS)


def _read_expected(parameters: Mapping[str, str], broken: BrokenRules) -> Expected:
    """Return what is expected. An empty digest is one that was left out."""
    hexdigests = {
        algorithm: broken.read(partial(_read_hexdigest, algorithm, text.lower()), "")
        for algorithm in Algorithm
        if (text := parameters.get(algorithm, ""))
    }
    return Expected(hexdigests) if hexdigests else NOTHING_EXPECTED


def _read_hexdigest(algorithm: Algorithm, text: str) -> str:
    if len(text) != algorithm.hex_digits or not _HEXADECIMAL.fullmatch(text):
        refuse_parameter(algorithm.value, f"must be {algorithm.hex_digits} hexadecimal digits")
    return text
