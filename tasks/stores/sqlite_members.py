"""The members of batches in a SQLite file."""

# ruff: noqa: S608  the names in the statements are constants of ours

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta

from tasks.batch import PARKED, Lane, Tally
from tasks.failure import CANCELLED
from tasks.stores.contract import Order
from tasks.stores.document import Document, failure_document
from tasks.stores.sqlite_rows import (
    IS_READABLE,
    SELECT,
    UPDATE,
    from_millis,
    read_rows,
    to_millis,
    to_row,
)
from tasks.task import Task

# The conditions are those of the indexes in sqlite_file.py.
_HOST = "json_extract(document, '$.member.host')"
_STATUS = "json_extract(document, '$.status')"
_POSITION = "json_extract(document, '$.member.position')"
_RETRY_AT = "json_extract(document, '$.retry_at')"
_LANE_STATUS = "json_extract(document, '$.lane_status')"
_OF_LANE = f"group_id = ? AND {_HOST} = ?"

UPDATED_AT_ONCE = 500

Transaction = Callable[[sqlite3.Connection], AbstractContextManager[sqlite3.Connection]]
Read = Callable[[], AbstractContextManager[sqlite3.Connection]]


class SQLiteMembers:
    """The part of a SQLiteStore that is about batches."""

    def __init__(
        self,
        durable: sqlite3.Connection,
        hints: sqlite3.Connection,
        transaction: Transaction,
        read: Read,
        count: Read,
    ) -> None:
        """`transaction` begins one on a connection; `read` yields the connection for reads.

        `count` yields that for reads which take time in proportion to the members. All translate
        errors.
        """
        self._durable = durable
        self._hints = hints
        self._transaction = transaction
        self._read = read
        self._count = count

    def activate(self, group: str) -> None:
        change = "wake_at = ?, expires_at = NULL"
        for status, wake_at in ((_STATUS, to_millis(PARKED)), (_LANE_STATUS, 0)):
            self._update(group, change, wake_at, f"wake_at IS NULL AND {status} = 'queued'")

    def _update(self, group: str, change: str, value: int, condition: str) -> int:
        """Change the members that meet a condition, some at a time, and then the lanes.

        Others get their turn in between. Returns how many were changed.
        """
        update = f"UPDATE tasks SET {change} WHERE group_id = ? AND {condition} AND {_POSITION}"
        with self._read() as connection:
            (last,) = connection.execute(
                f"SELECT max({_POSITION}) FROM tasks WHERE group_id = ?", (group,)
            ).fetchone()
        changed = 0
        for first in range(0, (-1 if last is None else last) + 1, UPDATED_AT_ONCE):
            with self._transaction(self._durable) as connection:
                keys = (value, group, first, first + UPDATED_AT_ONCE - 1)
                changed += connection.execute(f"{update} BETWEEN ? AND ?", keys).rowcount
        with self._transaction(self._durable) as connection:
            return changed + connection.execute(f"{update} IS NULL", (value, group)).rowcount

    def claim(
        self, lane: Lane, limit: int, *, now: datetime, lease: timedelta, token: str
    ) -> list[Task]:
        waiting = (
            f"{SELECT} WHERE {_OF_LANE} AND {_STATUS} = 'queued' AND +wake_at = ? AND {IS_READABLE}"
        )
        keys = (*_key(lane), to_millis(PARKED))
        with self._transaction(self._hints) as connection:
            if _rest_end(connection, lane) > to_millis(now):
                return []
            rows = connection.execute(
                f"{waiting} AND {_RETRY_AT} IS NULL ORDER BY {_POSITION} LIMIT ?", (*keys, limit)
            ).fetchall()
            rows += connection.execute(
                f"{waiting} AND {_RETRY_AT} <= ? ORDER BY {_RETRY_AT}, {_POSITION} LIMIT ?",
                (*keys, to_millis(now), limit - len(rows)),
            ).fetchall()
            claimed = [task.claimed(now, lease, token) for task in read_rows(rows)]
            return [each for each in _save(connection, _saved(claimed)) if each]

    def claimed(self, lane: Lane, token: str) -> list[Task]:
        with self._read() as connection:
            rows = connection.execute(
                f"{SELECT} WHERE {_OF_LANE} AND {_STATUS} = 'running'"
                f" AND json_extract(document, '$.claim') = ? ORDER BY {_POSITION}",
                (*_key(lane), token),
            ).fetchall()
        return list(read_rows(rows))

    def save_all(self, tasks: Sequence[Task]) -> list[Task | None]:
        saved = _saved(tasks)
        with self._transaction(self._durable) as connection:
            return _save(connection, saved)

    def rest(self, lane: Lane, until: datetime) -> None:
        with self._transaction(self._hints) as connection:
            connection.execute(
                "INSERT INTO rests VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                (*_key(lane), to_millis(until)),
            )

    def due_at(self, lane: Lane) -> datetime | None:
        with self._read() as connection:
            first = connection.execute(
                f"SELECT coalesce({_RETRY_AT}, 0) FROM tasks"
                f" WHERE {_OF_LANE} AND {_STATUS} = 'queued' ORDER BY {_RETRY_AT} LIMIT 1",
                _key(lane),
            ).fetchone()
            rest_end = _rest_end(connection, lane)
        return None if first is None else from_millis(max(first[0], rest_end))

    def is_unfinished(self, group: str, host: str | None = None) -> bool:
        of_host, keys = (f" AND {_HOST} = ?", (group, host)) if host else ("", (group,))
        with self._read() as connection:
            found = connection.execute(
                f"SELECT 1 FROM tasks WHERE group_id = ? AND {_STATUS} IN ('queued', 'running')"
                f"{of_host} LIMIT 1",
                keys,
            ).fetchone()
        return found is not None

    def is_running(self, group: str) -> bool:
        with self._read() as connection:
            found = connection.execute(
                f"SELECT 1 FROM tasks WHERE group_id = ? AND {_STATUS} = 'running' LIMIT 1",
                (group,),
            ).fetchone()
        return found is not None

    def has_lane(self, group: str) -> bool:
        with self._count() as connection:
            found = connection.execute(
                f"SELECT 1 FROM tasks WHERE group_id = ? AND {_POSITION} IS NULL"
                f" AND {_LANE_STATUS} IN ('queued', 'running') LIMIT 1",
                (group,),
            ).fetchone()
        return found is not None

    def count(self, group: str) -> int:
        with self._count() as connection:
            (count,) = connection.execute(
                f"SELECT count(*) FROM tasks WHERE group_id = ? AND {_POSITION} >= 0", (group,)
            ).fetchone()
        return int(count)

    def tally(self, group: str) -> Tally:
        with self._count() as connection:
            done, failed, mismatched, size = connection.execute(
                f"SELECT sum({_STATUS} = 'done'), sum({_STATUS} = 'failed'),"
                " count(json_extract(document, '$.is_mismatch')),"
                " sum(json_extract(document, '$.digest.size'))"
                f" FROM tasks WHERE group_id = ?",
                (group,),
            ).fetchone()
        return Tally(
            done=done or 0, failed=failed or 0, mismatched=mismatched, bytes_done=size or 0
        )

    def pages(self, group: str, order: Order, limit: int, after: int = -1) -> list[Task]:
        number = f"json_extract(document, '$.member.{order}')"
        with self._read() as connection:
            rows = connection.execute(
                f"{SELECT} WHERE group_id = ? AND {number} > ? ORDER BY {number} LIMIT ?",
                (group, after, limit),
            ).fetchall()
        return list(read_rows(rows))

    def failed(self, group: str, limit: int) -> list[Task]:
        with self._read() as connection:
            rows = connection.execute(
                f"{SELECT} WHERE group_id = ? AND {_STATUS} = 'failed'"
                f" ORDER BY {_HOST}, {_POSITION} LIMIT ?",
                (group, limit),
            ).fetchall()
        return list(read_rows(rows))

    def cancel(self, group: str, now: datetime) -> int:
        change = (
            "version = version + 1, wake_at = NULL, dispatched_at = NULL, due_since = NULL,"
            " document = json_set(json_remove(document, '$.retry_at'), '$.status', 'failed',"
            f" '$.failure', json('{json.dumps(failure_document(CANCELLED))}'), '$.finished_at', ?)"
        )
        is_unfinished = f"{_STATUS} IN ('queued', 'running')"
        return self._update(group, change, to_millis(now), is_unfinished)

    def expire(self, group: str, expires_at: datetime) -> None:
        self._update(group, "expires_at = ?", to_millis(expires_at), "wake_at IS NULL")

    def remove_ended(self, group: str, before: datetime) -> int:
        removed = 0
        while True:
            with self._transaction(self._durable) as connection:
                some = connection.execute(
                    "DELETE FROM tasks WHERE _id IN (SELECT _id FROM tasks WHERE group_id = ?"
                    " AND json_extract(document, '$.finished_at') < ? LIMIT ?)",
                    (group, to_millis(before), UPDATED_AT_ONCE),
                ).rowcount
            removed += some
            if some < UPDATED_AT_ONCE:
                return removed


def _key(lane: Lane) -> tuple[str, str]:
    return lane.group, lane.host


def _rest_end(connection: sqlite3.Connection, lane: Lane) -> int:
    found = connection.execute(
        "SELECT until FROM rests WHERE group_id = ? AND host = ?", _key(lane)
    ).fetchone()
    return found[0] if found else 0


def _saved(tasks: Iterable[Task]) -> list[tuple[Task, Document]]:
    """Return the tasks as they are once they are saved, with their rows."""
    saved = [replace(task, version=task.version + 1) for task in tasks]
    return [(each, to_row(each)) for each in saved]


def _save(
    connection: sqlite3.Connection, saved: Iterable[tuple[Task, Document]]
) -> list[Task | None]:
    return [each if connection.execute(UPDATE, row).rowcount else None for each, row in saved]
