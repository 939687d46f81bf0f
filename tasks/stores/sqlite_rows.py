"""A task as a row of a SQLite table, and the conditions on it."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from tasks.stores.document import (
    FAILURE_CODES,
    FORMAT,
    TIME_FIELDS,
    Document,
    from_document,
    read_all,
    to_document,
)
from tasks.task import Task

# The columns are what SQL works on; `document` is the rest of the task, as JSON. Times are
# milliseconds since 1970.
COLUMNS = ("_id", "version", "wake_at", "dispatched_at", "expires_at")
SELECT = "SELECT _id, version, wake_at, dispatched_at, expires_at, document FROM tasks"
# Conditions on documents. The names in them are constants of ours.
IS_READABLE = (
    f"coalesce(json_extract(document, '$.format'), 1) <= {FORMAT}"
    " AND coalesce(json_extract(document, '$.failure.code'), '') IN ('', {})".format(
        ", ".join(f"'{code}'" for code in FAILURE_CODES)
    )
)
INSERT = (
    "INSERT INTO tasks"
    " (_id, version, wake_at, dispatched_at, expires_at, document, group_id) VALUES"
    " (:_id, :version, :wake_at, :dispatched_at, :expires_at, :document, :group_id)"
    " ON CONFLICT DO NOTHING"
)
UPDATE = (
    "UPDATE tasks SET version = :version, wake_at = :wake_at, document = :document,"
    " dispatched_at = :dispatched_at, expires_at = :expires_at, due_since = NULL"
    " WHERE _id = :_id AND version = :version - 1"
)


def to_millis(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_millis(millis: int) -> datetime:
    """Return the moment of milliseconds since 1970."""
    return datetime.fromtimestamp(millis // 1000, UTC).replace(microsecond=millis % 1000 * 1000)


def to_row(task: Task) -> Document:
    """Return the columns of a task."""
    document = to_document(task)
    for name in TIME_FIELDS:
        if name in document:
            document[name] = to_millis(document[name])
    row = {name: document.pop(name, None) for name in COLUMNS}
    return {**row, "document": json.dumps(document, ensure_ascii=False, separators=(",", ":"))}


def group_of(task: Task) -> str | None:
    """Return the group of a member or a lane."""
    part = task.member or task.lane
    return part.group if part else None


def from_row(row: tuple[object, ...]) -> Task:
    """Return the task of a row. Raises NewerTaskError."""
    return from_document(_read_document(row))


def _read_document(row: tuple[object, ...]) -> Document:
    *columns, text = row
    document = {**json.loads(str(text)), **dict(zip(COLUMNS, columns, strict=True))}
    for name in TIME_FIELDS:
        if document.get(name) is not None:
            document[name] = from_millis(document[name])
    return document


def read_rows(rows: Iterable[tuple[object, ...]]) -> Iterator[Task]:
    """Return the tasks of the rows that can be read."""
    return read_all(map(_read_document, rows))
