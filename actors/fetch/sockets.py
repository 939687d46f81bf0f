"""Connections that the guard has admitted and that never outlast their bounds.

A name is looked up once, the guard is asked, the very address that it was asked about is connected
to, and the bounds are asked after every wait on the network.
"""

import errno
import select
import socket
import ssl
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, cast

from actors.fetch.bounds import SLICE_SECONDS, Bounds
from actors.fetch.errors import FetchError
from actors.fetch.guard import Guard
from tasks.task import FailureCode

MAX_ADDRESSES = 4  # of one name, tried in the resolver's order

_SocketAddress = tuple[Any, ...]


class Owner(Protocol):
    """Whose sockets they are: the bounds are those of its download under way."""

    guard: Guard
    bounds: Bounds
    connects: int


class _PlainSocket(socket.socket):
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


def connect(owner: Owner, host: str, port: int) -> socket.socket:
    addresses = _look_up(host, port, owner.bounds)
    owner.guard.check(str(address[0]) for _, address in addresses)
    owner.connects += 1
    *others, last = addresses[:MAX_ADDRESSES]
    for family, address in others:
        try:
            return _connect_to(owner, family, address)
        except FetchError as error:
            if error.is_permanent:
                raise
    return _connect_to(owner, *last)


def _look_up(host: str, port: int, bounds: Bounds) -> list[tuple[int, _SocketAddress]]:
    """Families and addresses of a host. getaddrinfo has no timeout, so a thread waits for it."""
    answers: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    def receive() -> list[Any] | Exception:
        try:
            return answers.get(timeout=SLICE_SECONDS)
        except Empty:
            raise TimeoutError from None

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    answer = bounds.wait(receive, bounds.limits.connect_timeout, _unknown_host)
    if isinstance(answer, Exception) or not answer:
        raise _unknown_host()
    return [(family, address) for family, _, _, _, address in answer]


def _connect_to(owner: Owner, family: int, address: _SocketAddress) -> socket.socket:
    try:
        connection = _PlainSocket(family, socket.SOCK_STREAM)
    except OSError:
        raise _unreachable_server() from None
    try:
        connection.owner = owner
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        code = connection.connect_ex(address)
        if code == errno.EINPROGRESS:
            owner.bounds.wait(
                partial(_wait_until_writable, connection),
                owner.bounds.limits.connect_timeout,
                _unreachable_server,
            )
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        connection.settimeout(SLICE_SECONDS)
    except BaseException:
        connection.close()
        raise
    if code:
        connection.close()
        raise _unreachable_server()
    return connection


def _wait_until_writable(connection: socket.socket) -> None:
    _wait_for_event(connection, select.POLLOUT)


def _wait_for_event(connection: socket.socket, event: int) -> None:
    poll = select.poll()
    poll.register(connection, event)
    if not poll.poll(SLICE_SECONDS * 1000):
        raise TimeoutError


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
    _wait_for_event(connection, select.POLLIN)


def broken_connection() -> FetchError:
    return FetchError(FailureCode.INCOMPLETE_BODY, "The server broke the connection off.")


def _unknown_host() -> FetchError:
    return FetchError(FailureCode.DNS_ERROR, "The host name could not be looked up.")


def _unreachable_server() -> FetchError:
    return FetchError(FailureCode.CONNECT_ERROR, "The server could not be reached.")


def _silent_server() -> FetchError:
    return FetchError(FailureCode.TIMEOUT, "The server did not answer, or stopped sending.")
