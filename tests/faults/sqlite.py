"""Another program holds the write lock of the SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from devtools.waiting import wait_for

FILE_NAME = "tasks.sqlite3"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Take the lock in the first gap between two writes, and hold it."""
    with closing(sqlite3.connect(folder / FILE_NAME, timeout=0.02)) as connection:
        wait_for(lambda: _takes_lock(connection), longest_pause=0.001)
        yield


def _takes_lock(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True
