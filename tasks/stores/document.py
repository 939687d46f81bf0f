"""A task as a flat document of plain values, the form in which every store keeps it.

A step is stored in the two fields that its row names. Its status is missing until it is the
step's turn. `format` is the highest one that a step or a digest needs, and missing if it is 1.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from tasks.digests import Algorithm, Digest
from tasks.errors import NewerTaskError
from tasks.failure import Failure, FailureCode
from tasks.step import ROWS, Step, StepKind, StepRow, StepState
from tasks.task import Task

Document = dict[str, Any]

# The highest format of documents that this version understands.
FORMAT = max(*(row.format for row in ROWS.values()), *(each.document_format for each in Algorithm))
FAILURE_CODES = [code.value for code in FailureCode]
MAX_SHORT_URL = 255  # a final URL that is longer, and that of the task, is stored once

TIME_FIELDS = ("submitted_at", "wake_at", "retry_at", "dispatched_at", "finished_at", "expires_at")
# The fields whose values are kept as they are, with what a document means that lacks them: the
# default, since the field may be newer than the document, or None.
_PLAIN_FIELDS = {
    each.name: None if each.default is MISSING else each.default
    for each in fields(Task)
    if each.name not in ("id", "steps", "digest", "failure")
}

_log = logging.getLogger(__name__)


def to_document(task: Task) -> Document:
    """Every field that is not None; `_id` is the task's id. Times stay datetimes."""
    document: Document = {"_id": task.id}
    if (document_format := _format_of(task)) > 1:
        document["format"] = document_format
    is_future = False
    for step in task.steps:
        document[step.row.attempt_field] = step.attempt
        if not is_future:
            document[step.row.status_field] = step.name.value
        is_future = is_future or not step.state.is_over
    for name in _PLAIN_FIELDS:
        value = getattr(task, name)
        if value is not None:
            document[name] = value
    if task.digest is not None:
        document["digest"] = {
            **{algorithm.value: text for algorithm, text in task.digest.hexdigests.items()},
            "size": task.digest.size,
            "is_length_verified": task.digest.is_length_verified,
        }
        if task.digest.final_url != task.url or len(task.url) <= MAX_SHORT_URL:
            document["digest"]["final_url"] = task.digest.final_url
    if task.failure is not None:
        document["failure"] = {
            "code": task.failure.code.value,
            "message": task.failure.message,
            "http_status": task.failure.http_status,
        }
    return document


def _format_of(task: Task) -> int:
    algorithms = task.digest.hexdigests if task.digest else ()
    needed = [step.row.format for step in task.steps]
    return max(needed + [each.document_format for each in algorithms])


def from_document(document: Mapping[str, Any]) -> Task:
    """Return the task that `to_document` was given. A missing field has its default.

    Raises NewerTaskError if a newer version has written the document.
    """
    values: dict[str, Any] = {
        name: document.get(name, default) for name, default in _PLAIN_FIELDS.items()
    }
    return Task(
        id=document["_id"],
        steps=_read_steps(document),
        digest=_read_digest(document),
        failure=_read_failure(document),
        **values,
    )


def _read_steps(document: Mapping[str, Any]) -> tuple[Step, ...]:
    if (document.get("format") or FORMAT) > FORMAT:
        raise NewerTaskError(document["_id"])
    return tuple(
        _read_step(kind, row, document)
        for kind, row in ROWS.items()
        if row.requested_by is None or document.get(row.requested_by) is not None
    )


def _read_step(kind: StepKind, row: StepRow, document: Mapping[str, Any]) -> Step:
    name = document.get(row.status_field)
    attempt = document.get(row.attempt_field, 0)
    try:
        return Step(kind, row.state_named(name) if name else StepState.WAITING, attempt)
    except ValueError as error:
        raise NewerTaskError(document["_id"]) from error


def _read_digest(document: Mapping[str, Any]) -> Digest | None:
    digest = document.get("digest")
    if not digest:
        return None
    hexdigests = {each: digest[each.value] for each in Algorithm if each.value in digest}
    others = {name: value for name, value in digest.items() if name not in hexdigests}
    return Digest(hexdigests, **{"final_url": document["url"], **others})


def _read_failure(document: Mapping[str, Any]) -> Failure | None:
    failure = document.get("failure")
    if not failure:
        return None
    try:
        code = FailureCode(failure["code"])
    except ValueError as error:
        raise NewerTaskError(document["_id"]) from error
    return Failure(**{**failure, "code": code})


def read_all(documents: Iterable[Mapping[str, Any]]) -> Iterator[Task]:
    """Return the tasks that can be read. One that cannot must not hold up the others."""
    for document in documents:
        try:
            yield from_document(document)
        except NewerTaskError as error:
            _log.warning("%s", error)
        except (ValueError, TypeError, KeyError):
            _log.exception("task %s cannot be read", document["_id"])
