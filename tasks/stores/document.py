"""A task as a flat document of plain values, the form in which every store keeps it."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from tasks.digests import Digest
from tasks.failure import Failure, FailureCode
from tasks.task import MailStatus, Status, Task

Document = dict[str, Any]

_log = logging.getLogger(__name__)

# The fields whose values are kept as they are, with what a document means that lacks them: the
# default, since the field may be newer than the document, or None.
_PLAIN_FIELDS = {
    each.name: None if each.default is MISSING else each.default
    for each in fields(Task)
    if each.name not in ("id", "status", "mail_status", "digest", "failure")
}


def to_document(task: Task) -> Document:
    """Every field that is not None; `_id` is the task's id. Times stay datetimes."""
    document: Document = {"_id": task.id, "status": task.status.value}
    for name in _PLAIN_FIELDS:
        value = getattr(task, name)
        if value is not None:
            document[name] = value
    if task.mail_status is not None:
        document["mail_status"] = task.mail_status.value
    if task.digest is not None:
        document["digest"] = {
            "md5": task.digest.md5,
            "size": task.digest.size,
            "is_length_verified": task.digest.is_length_verified,
        }
        if task.digest.final_url != task.url:  # a long URL is stored once
            document["digest"]["final_url"] = task.digest.final_url
    if task.failure is not None:
        document["failure"] = {
            "code": task.failure.code.value,
            "message": task.failure.message,
            "http_status": task.failure.http_status,
        }
    return document


def from_document(document: Mapping[str, Any]) -> Task:
    """Return the task that `to_document` was given. A missing field has its default."""
    values: dict[str, Any] = {
        name: document.get(name, default) for name, default in _PLAIN_FIELDS.items()
    }
    mail_status, digest, failure = map(document.get, ("mail_status", "digest", "failure"))
    return Task(
        id=document["_id"],
        status=Status(document["status"]),
        mail_status=MailStatus(mail_status) if mail_status else None,
        digest=Digest(**{"final_url": document["url"], **digest}) if digest else None,
        failure=Failure(**{**failure, "code": FailureCode(failure["code"])}) if failure else None,
        **values,
    )


def read_all(documents: Iterable[Mapping[str, Any]]) -> Iterator[Task]:
    """The tasks of those that can be read: one of a later version must not hold up the others."""
    for document in documents:
        try:
            yield from_document(document)
        except (ValueError, TypeError, KeyError):
            _log.exception("task %s cannot be read", document["_id"])
