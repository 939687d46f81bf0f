"""Sockets that ask the bounds of their download after every wait on the network."""

import select
import socket
import ssl
from functools import partial
from typing import Any, Protocol, cast

from actors.fetch.bounds import SLICE_SECONDS, Bounds
from actors.fetch.errors import FetchError
from actors.fetch.guard import Guard
from actors.fetch.lookup import Resolver
from tasks.task import FailureCode


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
        return self.owner.bounds.receive(partial(super().recv_into, *args), _silent_server)


class _TLSSocket(ssl.SSLSocket):
    """The same over TLS, its handshake included."""

    @property
    def _bounds(self) -> Bounds:
        return cast("TLSContext", self.context).owner.bounds

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002
        handshake = partial(super().do_handshake, block)
        try:
            self._bounds.wait(handshake, self._bounds.limits.connect_timeout, _silent_server)
        except ssl.SSLEOFError:  # a server too busy for us says nothing of its certificate
            self.close()
            raise broken_connection() from None
        except BaseException:
            self.close()
            raise
        # A body that ends with its connection is complete only after a close_notify.
        self.suppress_ragged_eofs = False

    def recv_into(self, *args: Any) -> int:
        try:
            return self._bounds.receive(partial(super().recv_into, *args), _silent_server)
        except ssl.SSLEOFError:
            raise broken_connection() from None


class TLSContext(ssl.SSLContext):
    """Verifies certificate and name, and makes bounded sockets."""

    sslsocket_class = _TLSSocket
    owner: Owner


def await_bytes(connection: socket.socket, bounds: Bounds) -> None:
    """Wait for the first bytes on a kept connection, but no longer than for a new one.

    If its path has gone silent, there is time left to ask on a new connection.
    """
    limits = bounds.limits
    bounds.wait(
        partial(_wait_until_readable, connection),
        min(limits.connect_timeout, limits.read_timeout),
        _silent_server,
    )


def _wait_until_readable(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(SLICE_SECONDS * 1000):
        raise TimeoutError


def broken_connection() -> FetchError:
    return FetchError(FailureCode.INCOMPLETE_BODY, "The server broke the connection off.")


def _silent_server() -> FetchError:
    return FetchError(FailureCode.TIMEOUT, "The server did not answer, or stopped sending.")
