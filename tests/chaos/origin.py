"""An origin whose files are served well, slowly, in two parts, at the second try, or not at all.

Some first tries are answered with a request for a rest.
"""

import hashlib
import socket
import threading
from collections import Counter

from devtools.servers.origin import HttpOrigin, head
from tests.e2e.batches import UNAVAILABLE, refusal

KINDS = ("good", "slow", "cut", "busy", "resting", "missing")
SLOW_SECONDS = 1.0  # for each of the four parts of a slow body


def body_of(path: str) -> bytes:
    """The file at a path: some ten kilobytes that no other path has."""
    seed = hashlib.sha256(path.encode()).digest()
    return seed * (1000 + seed[0])


class FickleOrigin(HttpOrigin):
    """Serves `/<kind>/<number>`."""

    def __init__(self) -> None:
        self._tries: Counter[str] = Counter()
        self._stopped = threading.Event()
        super().__init__()

    def answer(self, connection: socket.socket, path: str) -> None:
        kind = path.split("/")[1]
        self._tries[path] += 1
        is_first, body = self._tries[path] == 1, body_of(path)
        if kind == "missing":
            connection.sendall(head("404 Not Found", 0))
        elif kind == "busy" and is_first:
            connection.sendall(head(UNAVAILABLE, 0))
        elif kind == "resting" and is_first:
            connection.sendall(refusal(1, UNAVAILABLE))
        elif kind == "cut" and is_first:
            connection.sendall(head("200 OK", len(body)) + body[:-1])
            raise EOFError
        else:
            connection.sendall(head("200 OK", len(body)))
            part = len(body) // 4 + 1 if kind == "slow" else len(body)
            for start in range(0, len(body), part):
                if kind == "slow":
                    self._stopped.wait(SLOW_SECONDS)
                connection.sendall(body[start : start + part])

    def stop(self) -> None:
        self._stopped.set()
        super().stop()
