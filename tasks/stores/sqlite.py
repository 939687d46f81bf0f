"""Tasks in a SQLite file: for one machine, with any number of threads and processes."""

import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from settings import Settings
from tasks.batch import PARKED
from tasks.errors import NewerTaskError, StoreUnavailableError
from tasks.step import ROWS, StepKind
from tasks.stores import sqlite_file
from tasks.stores.clock import ClockMark, MachineClock
from tasks.stores.contract import BacklogStats, DiskSpace
from tasks.stores.sqlite_members import SQLiteMembers
from tasks.stores.sqlite_rows import (
    INSERT,
    IS_READABLE,
    SELECT,
    UPDATE,
    from_millis,
    from_row,
    group_of,
    read_rows,
    to_millis,
    to_row,
)
from tasks.task import Task
from telemetry.availability import Availability

# Tasks that are removed or woken in one transaction, which holds up the others.
EXPIRED_BATCH = 5000
WOKEN_BATCH = 5000
_IS_WAITING = " OR ".join(
    f"json_extract(document, '$.{row.status_field}') IN ({names})"
    for row in ROWS.values()
    for names in [", ".join(f"'{name}'" for name in row.names_of_waiting)]
)


def open_store(settings: Settings) -> "SQLiteStore":
    """Return the store in the file of the settings, whose folder is made if it is missing."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SQLiteStore(Path(settings.store_url.partition(":")[2]))


class SQLiteStore:
    """A TaskStore in one file: a connection for what must be on the disk, one for hints.

    Two more connections only read. In WAL mode, reads do not wait for writes:
    https://www.sqlite.org/wal.html
    """

    def __init__(self, path: Path) -> None:
        self.description = f"SQLite under {path.parent}"
        self._folder = path.parent
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._setting_clock = threading.Lock()
        self._counting = threading.Lock()  # a long count delays nothing else
        self._clock = MachineClock()
        self._availability = Availability("SQLite", logging.getLogger(__name__))
        with ExitStack() as opened:

            def connect(synchronous: str) -> sqlite3.Connection:
                return opened.enter_context(closing(sqlite_file.connect(path, synchronous)))

            try:
                self._durable = connect("FULL")
                self._hints = connect("NORMAL")  # a power cut may undo its last commits
                self._reads = connect("NORMAL")
                self._counts = connect("NORMAL")
                self._set_clock(self._hints)
                for connection in (self._reads, self._counts):
                    connection.execute("PRAGMA query_only = ON")
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"SQLite: {path}: {error}") from error
            opened.pop_all()
        self.members = SQLiteMembers(
            self._durable, self._hints, self._transaction, self._read, self._count
        )

    def now(self) -> datetime:
        return self._clock.now()

    def _set_clock(self, connection: sqlite3.Connection) -> ClockMark | None:
        """Set the clock by the file's mark. Returns the mark to write instead, if it is time."""
        with self._setting_clock:
            row = connection.execute("SELECT zero, latest FROM clock").fetchone()
            return self._clock.agree(ClockMark(*row) if row else None)

    def insert_all(self, tasks: Sequence[Task]) -> set[str]:
        rows = [{**to_row(task), "group_id": group_of(task)} for task in tasks]
        with self._transaction(self._durable) as connection:
            return {row["_id"] for row in rows if not connection.execute(INSERT, row).rowcount}

    def get(self, task_id: str) -> Task | None:
        with self._read() as connection:
            row = connection.execute(f"{SELECT} WHERE _id = ?", (task_id,)).fetchone()
        return from_row(row) if row else None

    def ended(self, task_ids: Collection[str]) -> list[Task]:
        with self._read() as connection:
            rows = connection.execute(
                f"{SELECT} WHERE _id IN (SELECT value FROM json_each(?))"  # noqa: S608  constants
                " AND json_extract(document, '$.finished_at') IS NOT NULL",
                (json.dumps(list(task_ids)),),
            ).fetchall()
        return list(read_rows(rows))

    def save(self, task: Task) -> Task | None:
        return self._save(task, self._durable)

    def _save(self, task: Task, over: sqlite3.Connection) -> Task | None:
        saved = replace(task, version=task.version + 1)
        with self._translated_errors(over) as connection:
            cursor = connection.execute(UPDATE, to_row(saved))
        return saved if cursor.rowcount else None

    def claim(
        self, task_id: str, kind: StepKind, now: datetime, lease: timedelta, token: str
    ) -> Task | None:
        try:
            task = self.get(task_id)
        except NewerTaskError:
            return None
        claimed = None if task is None else task.claimed_for(kind, now, lease, token)
        if claimed is None:
            return None
        return self._save(claimed, self._hints if ROWS[kind].is_repeatable else self._durable)

    def take_due(self, now: datetime, visible_again_at: datetime, limit: int) -> list[Task]:
        """As in TaskStore; also sets the clock, and removes what has expired, step by step."""
        with self._transaction(self._hints) as connection:
            if mark := self._set_clock(connection):
                connection.execute(
                    "INSERT OR REPLACE INTO clock VALUES (0, ?, ?)", (mark.zero, mark.latest)
                )
            connection.execute(
                "DELETE FROM tasks WHERE _id IN"
                " (SELECT _id FROM tasks WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
                (to_millis(now), EXPIRED_BATCH),
            )
            connection.execute("DELETE FROM counters WHERE expires_at <= ?", (to_millis(now),))
            connection.execute("DELETE FROM rests WHERE until <= ?", (to_millis(now),))
            rows = connection.execute(
                f"{SELECT} WHERE wake_at <= ? AND {IS_READABLE} ORDER BY wake_at LIMIT ?",
                (to_millis(now), limit),
            ).fetchall()
            connection.executemany(
                "UPDATE tasks SET wake_at = ?, due_since = coalesce(due_since, ?) WHERE _id = ?",
                [(to_millis(visible_again_at), to_millis(now), row[0]) for row in rows],
            )
        return list(read_rows(rows))

    def mark_dispatched(self, tasks: Collection[Task]) -> None:
        with self._transaction(self._hints) as connection:
            connection.executemany(
                "UPDATE tasks"
                " SET wake_at = :wake_at, dispatched_at = :dispatched_at, due_since = NULL"
                " WHERE _id = :_id AND version = :version",
                map(to_row, tasks),
            )

    def wake_unclaimed(self, now: datetime) -> None:
        """As in TaskStore, step by step in the order of `wake_at`, so that no task comes twice."""
        last = (-1, "")
        while True:
            with self._transaction(self._durable) as connection:
                rows = connection.execute(
                    "SELECT wake_at, _id FROM tasks WHERE (wake_at, _id) > (?, ?) AND wake_at < ?"
                    " ORDER BY wake_at, _id LIMIT ?",
                    (*last, to_millis(PARKED), WOKEN_BATCH),
                ).fetchall()
                connection.executemany(
                    "UPDATE tasks SET wake_at = min(wake_at, ?), dispatched_at = NULL"  # noqa: S608
                    f" WHERE _id = ? AND ({_IS_WAITING}) AND"
                    " (json_extract(document, '$.retry_at') IS NULL OR dispatched_at IS NOT NULL)",
                    [(to_millis(now), row[1]) for row in rows],
                )
            if len(rows) < WOKEN_BATCH:
                return
            last = rows[-1]

    def count_hits(self, hits: Mapping[str, int], until: datetime) -> dict[str, int]:
        with self._transaction(self._hints) as connection:
            return {
                key: connection.execute(
                    "INSERT INTO counters VALUES (?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET hits = hits + excluded.hits RETURNING hits",
                    (to_millis(until), key, more),
                ).fetchone()[0]
                for key, more in hits.items()
            }

    def count_unfinished(self, most: int) -> int:
        with self._count() as connection:
            self._set_clock(connection)  # for a service, which takes no due tasks
            (count,) = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE wake_at IS NOT NULL LIMIT ?)",
                (most,),
            ).fetchone()
        return int(count)

    def backlog(self, now: datetime) -> BacklogStats:
        with self._count() as connection:
            rows = connection.execute(
                "SELECT json_extract(document, '$.status'), count(*),"
                " sum(coalesce(due_since, wake_at) < ?),"
                " min(json_extract(document, '$.submitted_at')),"
                " min(json_extract(document, '$.active_at'))"
                " FROM tasks WHERE wake_at IS NOT NULL GROUP BY 1",
                (to_millis(now),),
            ).fetchall()
        return BacklogStats.of(
            (*counts, from_millis(oldest), None if active is None else from_millis(active))
            for *counts, oldest, active in rows
        )

    def count_stored(self) -> int:
        """As in TaskStore; looks at two small indexes instead of the documents."""
        with self._count() as connection:
            (count,) = connection.execute(
                "SELECT (SELECT count(*) FROM tasks WHERE wake_at IS NOT NULL)"
                " + (SELECT count(*) FROM tasks WHERE expires_at IS NOT NULL)"
            ).fetchone()
        return int(count)

    def disk_space(self) -> DiskSpace:
        try:
            found = shutil.disk_usage(self._folder)
        except OSError as error:
            raise StoreUnavailableError(f"SQLite: {error}") from error
        return DiskSpace(free=found.free, size=found.total)

    def remove_settled(self, limit: int) -> int:
        with self._transaction(self._hints) as connection:
            return connection.execute(
                "DELETE FROM tasks WHERE _id IN (SELECT _id FROM tasks"
                " WHERE expires_at IS NOT NULL AND wake_at IS NULL"
                " AND json_extract(document, '$.finished_at') IS NOT NULL"
                " ORDER BY expires_at LIMIT ?)",
                (limit,),
            ).rowcount

    def ping(self) -> None:
        with self._translated_errors(self._durable) as connection:
            connection.execute("SELECT 1 FROM tasks LIMIT 1").fetchone()

    def close(self) -> None:
        with self._lock, self._reading, self._counting:
            self._counts.close()
            self._reads.close()
            self._hints.close()
            self._durable.close()

    def _count(self) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection for what takes time in proportion to the tasks."""
        return self._translated_errors(self._counts, self._counting)

    def _read(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._translated_errors(self._reads, self._reading)

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._translated_errors(connection):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled it back already
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated_errors(
        self, connection: sqlite3.Connection, lock: AbstractContextManager[bool] | None = None
    ) -> Iterator[sqlite3.Connection]:
        with lock or self._lock:
            try:
                yield connection
            except sqlite3.Error as error:
                self._availability.failed(str(error))
                raise StoreUnavailableError(f"SQLite: {error}") from error
            self._availability.succeeded()
