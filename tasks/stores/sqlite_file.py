"""Opens the SQLite file: its mode, its tables, and what later versions have added to them."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

BUSY_SECONDS = 5  # how long one process waits for another one's write

# Times are milliseconds since 1970, but nanoseconds in `clock`. `due_since` is the store's own:
# when a task was first taken that has not been dispatched, saved or claimed since. `group_id` is
# that of the members and lanes of a batch. `rests` has the hosts that the lanes leave alone.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS tasks (
        _id TEXT PRIMARY KEY, version INTEGER NOT NULL, wake_at INTEGER,
        dispatched_at INTEGER, expires_at INTEGER, document TEXT NOT NULL, due_since INTEGER,
        group_id TEXT
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tasks_wake_at ON tasks (wake_at) WHERE wake_at IS NOT NULL;
    CREATE INDEX IF NOT EXISTS tasks_expires_at ON tasks (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE IF NOT EXISTS counters (
        expires_at INTEGER, key TEXT, hits INTEGER NOT NULL, PRIMARY KEY (expires_at, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS clock (
        id INTEGER PRIMARY KEY CHECK (id = 0), zero INTEGER NOT NULL, latest INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS rests (
        group_id TEXT, host TEXT, until INTEGER NOT NULL, PRIMARY KEY (group_id, host)
    ) WITHOUT ROWID;
"""

# The columns that later versions have added.
_ADDED = {"due_since": "INTEGER", "group_id": "TEXT"}
_INDEXES = """
    CREATE INDEX IF NOT EXISTS groups_retry_at ON tasks (
        group_id, json_extract(document, '$.status'), json_extract(document, '$.member.host'),
        json_extract(document, '$.retry_at'), json_extract(document, '$.member.position')
    ) WHERE group_id IS NOT NULL;
    CREATE INDEX IF NOT EXISTS groups_position ON tasks (
        group_id, json_extract(document, '$.member.position')
    ) WHERE group_id IS NOT NULL;
    CREATE INDEX IF NOT EXISTS groups_rank ON tasks (
        group_id, json_extract(document, '$.member.rank')
    ) WHERE group_id IS NOT NULL;
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
        connection.executescript(_INDEXES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _add_columns(connection: sqlite3.Connection) -> None:
    """Upgrade a file that an earlier version made, once among several processes."""
    if not _missing_columns(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    for name in _missing_columns(connection):
        connection.execute(f"ALTER TABLE tasks ADD COLUMN {name} {_ADDED[name]}")
    connection.execute("COMMIT")


def _missing_columns(connection: sqlite3.Connection) -> list[str]:
    columns = connection.execute("SELECT name FROM pragma_table_info('tasks')").fetchall()
    return [name for name in _ADDED if (name,) not in columns]


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
