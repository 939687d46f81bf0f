"""Sockets that ask the bounds of their download after every wait on the network."""

import socket
from functools import partial
from typing import Any, Protocol

from fetch.bounds import Bounds
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.lookup import Resolver
from tasks.failure import FailureCode


class Owner(Protocol):
    """Whose sockets they are: the bounds are those of its download under way."""

    guard: Guard
    resolver: Resolver
    bounds: Bounds
    connects: int


class LazyTimeoutSocket(socket.socket):
    """A TCP socket whose timeout is set only if it changes.

    urllib3 sets it twice for each request. Each call is a system call, during which another thread
    takes the interpreter.
    """

    def settimeout(self, value: float | None) -> None:
        if value != self.gettimeout():
            super().settimeout(value)


class PlainSocket(LazyTimeoutSocket):
    """A TCP socket that asks its owner's bounds after every wait."""

    owner: Owner

    def recv_into(self, *args: Any) -> int:
        return self.owner.bounds.receive(partial(super().recv_into, *args), silent_server)


def broken_connection() -> FetchError:
    return FetchError(FailureCode.INCOMPLETE_BODY, "The server closed the connection unexpectedly.")


def silent_server() -> FetchError:
    return FetchError(FailureCode.TIMEOUT, "The server did not answer, or stopped sending.")
