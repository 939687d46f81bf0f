"""Connections to the first address of a host that answers: Happy Eyeballs, RFC 8305.

A name is looked up once, the guard is asked about all its addresses, and the very addresses that
the guard has admitted are connected to.
"""

import errno
import math
import select
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from itertools import chain, zip_longest

from fetch.bounds import SLICE_SECONDS
from fetch.errors import FetchError
from fetch.lookup import Endpoint, SocketAddress
from fetch.sockets import Owner, PlainSocket
from tasks.failure import FailureCode

# Of one name; families take turns, so neither hides the other.
MAX_ADDRESSES = 16
# The head start of each address: RFC 8305 § 5 recommends 250 ms.
STAGGER_SECONDS = 0.25


def connect(owner: Owner, host: str, port: int) -> socket.socket:
    """Return a connection to a host. Raises FetchError and FetchCancelledError."""
    endpoints = owner.resolver.look_up(host, port, owner.bounds)
    owner.guard.check(str(address[0]) for _, address in endpoints)
    owner.connects += 1
    with closing(_Race(owner, _interleave(endpoints)[:MAX_ADDRESSES])) as race:
        return race.run()


def _interleave(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Let address families take turns, the preferred one first: RFC 8305 § 4."""
    preferred = endpoints[0][0]
    ours = [endpoint for endpoint in endpoints if endpoint[0] == preferred]
    others = [endpoint for endpoint in endpoints if endpoint[0] != preferred]
    turns = chain.from_iterable(zip_longest(ours, others))
    return [endpoint for endpoint in turns if endpoint is not None]


class _Race:
    """Attempts to connect, each begun a moment after the one before, or as soon as that fails.

    Each attempt may take CONNECT_TIMEOUT.
    """

    def __init__(self, owner: Owner, endpoints: Iterable[Endpoint]) -> None:
        self._owner = owner
        self._waiting = deque(endpoints)
        self._poll = select.poll()
        # By descriptor: a socket, and when its attempt has failed.
        self._attempts: dict[int, tuple[PlainSocket, float]] = {}

    def run(self) -> socket.socket:
        """Return the first socket that is connected; the others are left to `close`."""
        next_at = 0.0
        while self._waiting or self._attempts:
            if self._waiting and (time.monotonic() >= next_at or not self._attempts):
                next_at = time.monotonic() + STAGGER_SECONDS
                if not self._begin(*self._waiting.popleft()):
                    next_at = 0.0
                    continue
            for descriptor, _ in self._poll.poll(self._milliseconds(next_at)):
                connection = self._end(descriptor)
                if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    connection.settimeout(SLICE_SECONDS)
                    return connection
                connection.close()
                next_at = 0.0
            self._end_late_attempts()
            self._owner.bounds.check()
        raise FetchError(FailureCode.CONNECT_ERROR, "The server could not be reached.")

    def close(self) -> None:
        """Close the sockets that have lost."""
        for connection, _ in self._attempts.values():
            connection.close()

    def _begin(self, family: int, address: SocketAddress) -> bool:
        """Begin an attempt; return False if it has failed at once."""
        try:
            connection = PlainSocket(family, socket.SOCK_STREAM)
        except OSError:  # no descriptor is left, or the system lacks the family
            return False
        limit = time.monotonic() + self._owner.bounds.limits.connect_timeout
        self._attempts[connection.fileno()] = connection, limit
        self._poll.register(connection, select.POLLOUT)
        connection.owner = self._owner
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        code = connection.connect_ex(address)
        self._owner.guard.check_ends(str(connection.getsockname()[0]), str(address[0]))
        if code in (0, errno.EINPROGRESS):
            return True
        self._end(connection.fileno()).close()
        return False

    def _end(self, descriptor: int) -> PlainSocket:
        self._poll.unregister(descriptor)
        connection, _ = self._attempts.pop(descriptor)
        return connection

    def _end_late_attempts(self) -> None:
        now = time.monotonic()
        for descriptor, (connection, limit) in list(self._attempts.items()):
            if now >= limit:
                self._end(descriptor)
                connection.close()

    def _milliseconds(self, next_at: float) -> int:
        """Return how long to wait for an attempt, until there is something else to do."""
        now = time.monotonic()
        limits = [limit for _, limit in self._attempts.values()]
        if self._waiting:
            limits.append(next_at)
        return math.ceil(1000 * max(0.0, min(*limits, now + SLICE_SECONDS) - now))
