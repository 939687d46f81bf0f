"""Opens the SQLite file: its mode, its tables, and what later versions have added to them."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

BUSY_SECONDS = 5  # how long one process waits for another one's write

# Times are milliseconds since 1970, but nanoseconds in `clock`. `due_since` is the store's own:
# when a task was first taken that has not been dispatched, saved or claimed since.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS tasks (
        _id TEXT PRIMARY KEY, version INTEGER NOT NULL, wake_at INTEGER,
        dispatched_at INTEGER, expires_at INTEGER, document TEXT NOT NULL, due_since INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tasks_wake_at ON tasks (wake_at) WHERE wake_at IS NOT NULL;
    CREATE INDEX IF NOT EXISTS tasks_expires_at ON tasks (expires_at) WHERE expires_at IS NOT NULL;
    CREATE INDEX IF NOT EXISTS members_tally ON tasks (
        json_extract(document, '$.member.group'), json_extract(document, '$.status'),
        json_extract(document, '$.member.host'), json_extract(document, '$.member.position')
    ) WHERE json_extract(document, '$.member.group') IS NOT NULL;
    CREATE INDEX IF NOT EXISTS members_position ON tasks (
        json_extract(document, '$.member.group'), json_extract(document, '$.member.position')
    ) WHERE json_extract(document, '$.member.group') IS NOT NULL;
    CREATE INDEX IF NOT EXISTS members_rank ON tasks (
        json_extract(document, '$.member.group'), json_extract(document, '$.member.rank')
    ) WHERE json_extract(document, '$.member.group') IS NOT NULL;
    CREATE INDEX IF NOT EXISTS lanes ON tasks (json_extract(document, '$.lane.group'))
        WHERE json_extract(document, '$.lane.group') IS NOT NULL;
    CREATE TABLE IF NOT EXISTS counters (
        expires_at INTEGER, key TEXT, hits INTEGER NOT NULL, PRIMARY KEY (expires_at, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS clock (
        id INTEGER PRIMARY KEY CHECK (id = 0), zero INTEGER NOT NULL, latest INTEGER NOT NULL
    );
"""


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open a connection for any thread. Raises sqlite3.Error."""
    # Other users of the machine may not read a new file. Files that SQLite adds have its mode.
    with suppress(OSError):  # it exists, or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, mode=0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _switch_to_wal(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.executescript(_SCHEMA)
        _add_columns(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _add_columns(connection: sqlite3.Connection) -> None:
    """Upgrade a file that an earlier version made, once among several processes."""
    if _has_due_since(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    if not _has_due_since(connection):
        connection.execute("ALTER TABLE tasks ADD COLUMN due_since INTEGER")
    connection.execute("COMMIT")


def _has_due_since(connection: sqlite3.Connection) -> bool:
    columns = connection.execute("SELECT name FROM pragma_table_info('tasks')").fetchall()
    return ("due_since",) in columns


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Retry, as SQLite does not wait here for another process that does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
