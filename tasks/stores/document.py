"""A task as a flat document of plain values, the form in which every store keeps it.

A step is stored in the two fields that its row names. Its status is missing until it is the
step's turn, unless it was given up before. `format` is the highest one that a step or a digest
needs, and missing if it is 1.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from tasks.batch import Batch, Lane, Member, Tally
from tasks.digests import NOTHING_EXPECTED, Algorithm, Digest, Expected
from tasks.errors import NewerTaskError
from tasks.failure import Failure, FailureCode
from tasks.step import ROWS, Step, StepKind, StepRow, StepState
from tasks.task import Task

Document = dict[str, Any]

# The highest format of documents that this version understands.
FORMAT = max(*(row.format for row in ROWS.values()), *(each.document_format for each in Algorithm))
FAILURE_CODES = [code.value for code in FailureCode]
BATCH_FORMAT = 2  # of the members of a batch
MAX_SHORT_URL = 255  # a final URL that is longer, and that of the task, is stored once

TIME_FIELDS = (
    "submitted_at",
    "wake_at",
    "retry_at",
    "dispatched_at",
    "finished_at",
    "active_at",
    "expires_at",
)
# The fields whose values are kept as they are, with what a document means that lacks them: the
# default, since the field may be newer than the document, or None.
_PLAIN_FIELDS = {
    each.name: None if each.default is MISSING else each.default
    for each in fields(Task)
    if each.name
    not in ("id", "steps", "expected", "requested", "digest", "failure", "member", "batch", "lane")
}

_MEMBER_FIELDS = [each.name for each in fields(Member)]
_EXPECTED = {algorithm: f"expected_{algorithm}" for algorithm in Algorithm}

_log = logging.getLogger(__name__)


def to_document(task: Task) -> Document:
    """Every field that is not None; `_id` is the task's id. Times stay datetimes."""
    document: Document = {"_id": task.id, **_steps_of(task)}
    if (document_format := _format_of(task)) > 1:
        document["format"] = document_format
    for name in _PLAIN_FIELDS:
        value = getattr(task, name)
        if value is not None:
            document[name] = value
    document |= _expectations(task.expected)
    if task.requested:
        document["requested"] = [algorithm.value for algorithm in task.requested]
    if task.member is not None:  # by far the most frequent of the three
        document["member"] = {name: getattr(task.member, name) for name in _MEMBER_FIELDS}
    for name in ("batch", "lane"):
        if (value := getattr(task, name)) is not None:
            document[name] = asdict(value)
    if task.digest is not None:
        document |= _result_of(task, task.digest)
    if task.failure is not None:
        document["failure"] = failure_document(task.failure)
    return document


def failure_document(failure: Failure) -> Document:
    """Return a failure as it is stored."""
    return {
        "code": failure.code.value,
        "message": failure.message,
        "http_status": failure.http_status,
    }


def _steps_of(task: Task) -> Document:
    document: Document = {}
    is_future = False
    for step in task.steps:
        document[step.row.attempt_field] = step.attempt
        if not is_future or step.state.is_over:
            document[step.row.status_field] = step.name.value
        is_future = is_future or not step.state.is_over
    return document


def _result_of(task: Task, digest: Digest) -> Document:
    result: Document = {"digest": _digest_of(task, digest)}
    if task.member and task.is_verified is False:
        result["is_mismatch"] = True  # for tallies
    if digest.declared:  # beside the digest, of which earlier versions know all fields
        result["declared"] = {each.value: text for each, text in digest.declared.items()}
    return result


def _digest_of(task: Task, digest: Digest) -> Document:
    document: Document = {
        **{algorithm.value: text for algorithm, text in digest.hexdigests.items()},
        "size": digest.size,
        "is_length_verified": digest.is_length_verified,
    }
    if digest.final_url != task.url or len(task.url) <= MAX_SHORT_URL:
        document["final_url"] = digest.final_url
    return document


def _format_of(task: Task) -> int:
    needed = [step.row.format for step in task.steps]
    needed += [each.document_format for each in task.algorithms]
    is_of_batch = task.member is not None or task.expected.size is not None
    return max(*needed, BATCH_FORMAT if is_of_batch else 1)


def _expectations(expected: Expected) -> Document:
    document: Document = {_EXPECTED[each]: text for each, text in expected.hexdigests.items()}
    if expected.size is not None:
        document["expected_size"] = expected.size
    return document


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
        expected=_read_expected(document),
        requested=tuple(map(Algorithm, document.get("requested") or ())),
        member=Member(**document["member"]) if document.get("member") else None,
        batch=_read_batch(document.get("batch")),
        lane=Lane(**document["lane"]) if document.get("lane") else None,
        digest=_read_digest(document),
        failure=_read_failure(document),
        **values,
    )


def _read_steps(document: Mapping[str, Any]) -> tuple[Step, ...]:
    if (document.get("format") or FORMAT) > FORMAT:
        raise NewerTaskError(document["_id"])
    # Release 1.0 drops `batch` when it saves a document, which leaves a task without a URL.
    is_single = not document.get("batch") and not document.get("lane")
    return tuple(
        _read_step(kind, row, document)
        for kind, row in ROWS.items()
        if document.get(row.requested_by) or (kind is StepKind.COMPUTE_MD5 and is_single)
    )


def _read_step(kind: StepKind, row: StepRow, document: Mapping[str, Any]) -> Step:
    name = document.get(row.status_field)
    attempt = document.get(row.attempt_field, 0)
    try:
        return Step(kind, row.state_named(name) if name else StepState.WAITING, attempt)
    except ValueError as error:
        raise NewerTaskError(document["_id"]) from error


def _read_expected(document: Mapping[str, Any]) -> Expected:
    hexdigests = {each: document[name] for each, name in _EXPECTED.items() if document.get(name)}
    size = document.get("expected_size")
    return Expected(hexdigests, size) if hexdigests or size is not None else NOTHING_EXPECTED


def _read_batch(batch: Mapping[str, Any] | None) -> Batch | None:
    return Batch(**{**batch, "tally": Tally(**batch["tally"])}) if batch else None


def _read_digest(document: Mapping[str, Any]) -> Digest | None:
    digest = document.get("digest")
    if not digest:
        return None
    hexdigests = {each: digest[each.value] for each in Algorithm if each.value in digest}
    others = {name: value for name, value in digest.items() if name not in hexdigests}
    declared = {Algorithm(name): text for name, text in document.get("declared", {}).items()}
    others |= {"declared": declared} if declared else {}
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
