"""The bodies of the API's answers. The schemas in openapi.json are checked against them."""

from datetime import datetime
from typing import Literal, NotRequired, TypedDict, cast

from tasks.batch import Batch
from tasks.failure import Failure, FailureCode
from tasks.step import MailStatus, Status
from tasks.task import Task


class FailureBody(TypedDict):
    """Why a task or an attempt failed."""

    code: FailureCode
    message: str
    http_status: NotRequired[int]


class AcceptedBody(TypedDict):
    """The answer to a submission."""

    id: str
    total: NotRequired[int]


class CountsBody(TypedDict):
    """The members of a batch by their state."""

    total: int
    running: int
    done: int
    failed: int


class BatchBody(TypedDict):
    """A batch. What follows `bytes_done` is there when it is done."""

    id: NotRequired[str]  # in the answer to a submission
    status: Literal["running", "done"]
    tasks: CountsBody
    bytes_done: int
    mismatched: NotRequired[int]
    submitted_at: NotRequired[str]
    finished_at: NotRequired[str]
    mail_status: NotRequired[MailStatus]


class RunningBody(TypedDict):
    """A task that is queued or running."""

    status: Literal["running"]
    url: str
    attempt: NotRequired[int]
    bytes_done: NotRequired[int]
    bytes_total: NotRequired[int | None]
    retry_at: NotRequired[str]
    error: NotRequired[FailureBody]


class DoneBody(TypedDict):
    """A task whose digests are computed.

    Each has a field named by its algorithm, beside `md5`, and one with `origin_` in front if the
    origin has declared it.
    """

    id: NotRequired[str]  # in the answer to a submission
    md5: str
    status: Literal["done"]
    url: str
    size: int
    length_verified: bool
    final_url: str
    submitted_at: str
    finished_at: str
    mail_status: NotRequired[MailStatus]
    verified: NotRequired[bool]
    mismatches: NotRequired[list[str]]
    origin_verified: NotRequired[bool]


class FailedBody(TypedDict):
    """A task that has failed."""

    id: NotRequired[str]  # in the answer to a submission
    status: Literal["failed"]
    url: str
    error: FailureBody
    submitted_at: str
    finished_at: str
    mail_status: NotRequired[MailStatus]


def represent(task: Task) -> BatchBody | RunningBody | DoneBody | FailedBody:
    """Return the body that describes a task."""
    if task.batch is not None:
        return _represent_batch(task, task.batch)
    if task.status is Status.DONE:
        return _represent_done(task)
    if task.status is Status.FAILED:
        return _represent_failed(task)
    return _represent_running(task)


def _represent_batch(task: Task, batch: Batch) -> BatchBody:
    tally = batch.tally
    counts: CountsBody = {
        "total": batch.total,
        "running": batch.total - tally.ended,
        "done": tally.done,
        "failed": tally.failed,
    }
    body: BatchBody = {"status": "running", "tasks": counts, "bytes_done": tally.bytes_done}
    if task.finished_at is not None:
        body["status"] = "done"
        if batch.is_expecting:
            body["mismatched"] = tally.mismatched
        body["submitted_at"] = _iso(task.submitted_at)
        body["finished_at"] = _iso(task.finished_at)
        if task.mail_status is not None:
            body["mail_status"] = task.mail_status
    return body


def _represent_running(task: Task) -> RunningBody:
    body: RunningBody = {"status": "running", "url": task.url}
    if task.attempt:
        body["attempt"] = task.attempt
    if task.bytes_done is not None:
        body["bytes_done"] = task.bytes_done
        body["bytes_total"] = task.bytes_total
    if task.retry_at is not None:
        body["retry_at"] = _iso(task.retry_at)
    if task.failure is not None:
        body["error"] = _represent_failure(task.failure)
    return body


def _represent_done(task: Task) -> DoneBody:
    assert task.digest is not None
    assert task.finished_at is not None
    fields: dict[str, object] = {
        **{each.value: text for each, text in task.digest.hexdigests.items()},
        "status": "done",
        "url": task.url,
        "size": task.digest.size,
        "length_verified": task.digest.is_length_verified,
        "final_url": task.digest.final_url,
        "submitted_at": _iso(task.submitted_at),
        "finished_at": _iso(task.finished_at),
    }
    body = cast("DoneBody", fields)
    if task.mail_status is not None:
        body["mail_status"] = task.mail_status
    if task.is_verified is not None:
        body["verified"] = task.is_verified
    if task.mismatches:
        body["mismatches"] = task.mismatches
    fields |= {f"origin_{each}": text for each, text in task.digest.declared.items()}
    if task.digest.is_confirmed is not None:
        body["origin_verified"] = task.digest.is_confirmed
    return body


def _represent_failed(task: Task) -> FailedBody:
    assert task.failure is not None
    assert task.finished_at is not None
    body: FailedBody = {
        "status": "failed",
        "url": task.url,
        "error": _represent_failure(task.failure),
        "submitted_at": _iso(task.submitted_at),
        "finished_at": _iso(task.finished_at),
    }
    if task.mail_status is not None:
        body["mail_status"] = task.mail_status
    return body


def _represent_failure(failure: Failure) -> FailureBody:
    body: FailureBody = {"code": failure.code, "message": failure.message}
    if failure.http_status is not None:
        body["http_status"] = failure.http_status
    return body


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
