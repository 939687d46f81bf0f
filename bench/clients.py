"""Many clients of a service, each with a connection on which it has asked once."""

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from devtools.servers.system import Service


@contextmanager
def clients(
    service: Service, paths: Iterable[str], field: str = ""
) -> Iterator[Sequence[socket.socket]]:
    """Ask for each path, with a header field if there is one; yield the connections."""
    host = urlsplit(service.base)
    fields = f"Host: {host.netloc}\r\n" + (f"{field}\r\n" if field else "")
    with ExitStack() as opened:
        connections = []
        for path in paths:
            address = (host.hostname, host.port)
            connections.append(opened.enter_context(socket.create_connection(address)))
            connections[-1].sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        time.sleep(1)
        yield connections
