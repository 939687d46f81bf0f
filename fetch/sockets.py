"""Sockets that ask the bounds of their download after every wait on the network."""

import select
import socket
from functools import partial
from typing import Any, Protocol

from fetch.bounds import SLICE_SECONDS, Bounds
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


class PlainSocket(socket.socket):
    """A TCP socket that asks its owner's bounds after every wait."""

    owner: Owner

    def recv_into(self, *args: Any) -> int:
        return self.owner.bounds.receive(partial(super().recv_into, *args), silent_server)


def await_bytes(connection: socket.socket, bounds: Bounds) -> None:
    """Wait for the first bytes on a kept connection, but no longer than for a new one.

    If its path has gone silent, there is time left to ask on a new connection.
    """
    limits = bounds.limits
    bounds.wait(
        partial(_wait_until_readable, connection),
        min(limits.connect_timeout, limits.read_timeout),
        silent_server,
    )


def _wait_until_readable(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(SLICE_SECONDS * 1000):
        raise TimeoutError


def broken_connection() -> FetchError:
    return FetchError(FailureCode.INCOMPLETE_BODY, "The server closed the connection unexpectedly.")


def silent_server() -> FetchError:
    return FetchError(FailureCode.TIMEOUT, "The server did not answer, or stopped sending.")
