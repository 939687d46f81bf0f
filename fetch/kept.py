"""Idle connections that wait for the next request to their host."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol

IDLE_SECONDS = 4.0  # Apache, Node.js and uvicorn close an idle connection after 5 s
MAX_KEPT = 256  # in the whole process
CHECK_SECONDS = 1.0  # between two looks for connections that have been idle for too long


class Connection(Protocol):
    @property
    def is_connected(self) -> bool:
        """False after the server has closed it, or has sent bytes without a request."""

    def close(self) -> None: ...


class KeptConnections:
    """The idle connections of all threads: at most `limit`, one for each key.

    A connection is closed when it has been idle for `idle_seconds`, even if no request follows.
    If the limit is reached, the connection that has been idle the longest is closed.
    """

    def __init__(self, limit: int = MAX_KEPT, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._idle: OrderedDict[Hashable, tuple[Connection, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle connections", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self.close_all()

    def close_all(self) -> None:
        self._close_older_than(0)

    def put(self, key: Hashable, connection: Connection) -> None:
        """Keep a connection for the next `take` of the key."""
        with self._lock:
            replaced = self._idle.pop(key, None)
            if replaced is None and len(self._idle) >= self._limit:
                _, replaced = self._idle.popitem(last=False)
            self._idle[key] = connection, time.monotonic()
        if replaced is not None:
            replaced[0].close()

    def take(self, key: Hashable) -> Connection | None:
        """Return the key's connection, unless it is idle for too long or cannot be used."""
        with self._lock:
            kept = self._idle.pop(key, None)
        if kept is None:
            return None
        connection, since = kept
        if time.monotonic() - since < self._idle_seconds and connection.is_connected:
            return connection
        connection.close()
        return None

    def _run(self) -> None:
        while not self._stopped.wait(min(CHECK_SECONDS, self._idle_seconds)):
            self._close_older_than(self._idle_seconds)

    def _close_older_than(self, seconds: float) -> None:
        latest = time.monotonic() - seconds
        closing: list[Connection] = []
        with self._lock:
            while self._idle:
                connection, since = next(iter(self._idle.values()))
                if since > latest:
                    break
                self._idle.popitem(last=False)
                closing.append(connection)
        for connection in closing:
            connection.close()
