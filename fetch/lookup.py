"""Addresses of host names, looked up by a bounded number of threads."""

import socket
import threading
from queue import Empty, SimpleQueue
from typing import Any

from fetch.bounds import SLICE_SECONDS, Bounds
from fetch.errors import FetchError
from tasks.failure import FailureCode

# In the whole process. getaddrinfo has no timeout, so a lookup may outlive its download.
MAX_LOOK_UPS = 1024

SocketAddress = tuple[Any, ...]
Endpoint = tuple[int, SocketAddress]  # an address family, and what connect() takes
_Answers = SimpleQueue[list[Any] | None]


class Resolver:
    """Looks names up for all threads of the process, up to `limit` names at once."""

    def __init__(self, limit: int = MAX_LOOK_UPS) -> None:
        self._slots = threading.BoundedSemaphore(limit)

    def look_up(self, host: str, port: int, bounds: Bounds) -> list[Endpoint]:
        """Return the endpoints of a host, in the system's order of preference.

        Waiting for a free slot is a part of the lookup. Raises FetchError (`dns_error`) after
        CONNECT_TIMEOUT.
        """
        answers: _Answers = SimpleQueue()
        is_asked = False

        def receive() -> list[Any] | None:
            nonlocal is_asked
            if not is_asked:
                if not self._slots.acquire(timeout=SLICE_SECONDS):
                    raise TimeoutError
                is_asked = True
                self._begin(host, port, answers)
            try:
                return answers.get(timeout=SLICE_SECONDS)
            except Empty:
                raise TimeoutError from None

        found = bounds.wait(receive, bounds.limits.connect_timeout, _unknown_host)
        if not found:
            raise _unknown_host()
        return list(dict.fromkeys((family, address) for family, _, _, _, address in found))

    def _begin(self, host: str, port: int, answers: _Answers) -> None:
        def ask() -> None:
            try:
                answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, ValueError):
                answers.put(None)
            finally:
                self._slots.release()

        try:
            threading.Thread(target=ask, name="lookup", daemon=True).start()
        except RuntimeError:  # the system allows no more threads
            self._slots.release()
            answers.put(None)


def _unknown_host() -> FetchError:
    return FetchError(FailureCode.DNS_ERROR, "The host name could not be looked up.")
