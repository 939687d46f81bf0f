"""Requests as bytes on a connection, for what no HTTP library would send."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from devtools.servers.system import Service


@contextmanager
def connect(service: Service, seconds: float = 30) -> Iterator[socket.socket]:
    """Connect to the service; each operation on the socket may take up to `seconds`."""
    parts = urlsplit(service.base)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=seconds) as connection:
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything that arrives until the peer closes, even by a reset."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def exchange(service: Service, request: bytes, seconds: float = 30) -> bytes:
    """Send bytes on a new connection, and return the answer once the service has closed it."""
    with connect(service, seconds) as connection:
        connection.sendall(request)
        return read_to_end(connection)


def status_of(answer: bytes) -> int:
    """Return the status code of an answer, or 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
