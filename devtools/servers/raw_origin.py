"""An origin whose every byte is the test's: one script for each connection, over a raw socket."""

import array
import fcntl
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable, Sequence

from devtools.servers.listener import Listener
from devtools.waiting import wait_for

# What is done on a connection: bytes are sent, anything else is called with the peer.
Step = bytes | Callable[["Peer"], object]
Script = Sequence[Step]


class Peer:
    """One connection, as a script sees it."""

    def __init__(self, origin: "RawOrigin", connection: socket.socket) -> None:
        self.origin = origin
        self.connection = connection
        self._received = b""

    def read_request(self) -> None:
        """Up to and with the blank line; recorded by the origin. Raises EOFError."""
        while b"\r\n\r\n" not in self._received:
            data = self.connection.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        request, _, self._received = self._received.partition(b"\r\n\r\n")
        self.origin.requests.append(request)

    def receive(self) -> None:
        """Whatever comes first, as a TLS handshake does."""
        self.connection.recv(65536)

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.origin.sent += len(data)

    def drain(self) -> None:
        """Wait until the other side's kernel has all that was sent."""
        left = array.array("i", [1])

        def is_empty() -> bool:
            fcntl.ioctl(self.connection, termios.TIOCOUTQ, left)
            return left[0] == 0

        wait_for(is_empty)


def next_request(peer: Peer) -> None:
    """For a script that serves more than one request."""
    peer.read_request()


def reset(peer: Peer) -> None:
    """Close with an RST, after the other side's kernel has what was sent."""
    peer.drain()
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.connection.close()


def stall(peer: Peer) -> None:
    """Send nothing more until the test is over."""
    peer.origin.is_released.wait()


def forever(data: bytes, *, pause: float = 0) -> Step:
    """Send the same bytes again and again, until the test ends."""

    def send(peer: Peer) -> None:
        while not peer.origin.is_released.wait(pause):
            peer.send(data)

    return send


def drip(data: bytes, pause: float) -> Step:
    """Send byte for byte."""

    def send(peer: Peer) -> None:
        for i in range(len(data)):
            if peer.origin.is_released.wait(pause):
                return
            peer.send(data[i : i + 1])

    return send


class RawOrigin(Listener):
    """An origin whose n-th connection is served by the n-th script, or by the last one.

    A request is read before each script begins, and at its end the connection is closed.
    """

    def __init__(
        self,
        *scripts: Script,
        context: ssl.SSLContext | None = None,
        is_greeting: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.sent = 0
        self.is_released = threading.Event()
        self._context = context
        self._is_greeting = is_greeting
        super().__init__(host)
        scheme = "http" if context is None else "https"
        self.base = f"{scheme}://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket, number: int) -> None:
        script = self.scripts[min(number, len(self.scripts) - 1)]
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            self._play(Peer(self, connection), script)

    def _play(self, peer: Peer, script: Script) -> None:
        if self._is_greeting:
            peer.read_request()
        for step in script:
            if isinstance(step, bytes):
                peer.send(step)
            else:
                step(peer)

    def join(self, number: int) -> None:
        """Wait until a connection's script is over, and the connection closed."""
        wait_for(lambda: len(self._threads) > number)
        self._threads[number].join()

    def stop(self) -> None:
        self.is_released.set()
        super().stop()


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A plain answer: the length is stated."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def redirect(location: str, status: int = 302) -> bytes:
    return reply(b"", f"Location: {location}", status=f"{status} Found")


def chunked(*chunks: bytes) -> bytes:
    """A body in those chunks, up to its end."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return body + b"0\r\n\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
