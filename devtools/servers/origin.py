"""Origins that serve files over HTTP."""

import socket
import threading
from abc import abstractmethod
from collections.abc import Mapping

from devtools.servers.listener import Listener


class HttpOrigin(Listener):
    """Reads the requests of kept connections, and records their paths.

    With `0.0.0.0` as its host it answers at every address of 127.0.0.0/8.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.requests: list[str] = []
        super().__init__(host)
        self.base = f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket, _number: int) -> None:
        with connection.makefile("rb") as lines:
            while request := lines.readline():
                while lines.readline().strip():
                    pass
                path = request.split()[1].decode()
                self.requests.append(path)
                self.answer(connection, path)

    @abstractmethod
    def answer(self, connection: socket.socket, path: str) -> None:
        """Answer one request; raise EOFError to close the connection."""


def head(status: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode()


class Origin(HttpOrigin):
    """Files at any path; a test holds back the end of all bodies by clearing `may_finish`."""

    def __init__(self, files: Mapping[str, bytes], host: str = "127.0.0.1") -> None:
        self._files = files
        self.may_finish = threading.Event()
        self.may_finish.set()
        super().__init__(host)

    def answer(self, connection: socket.socket, path: str) -> None:
        body = self._files.get(path.partition("?")[0])
        status = "404 Not Found" if body is None else "200 OK"
        body = body or b""
        half = len(body) // 2
        connection.sendall(head(status, len(body)) + body[:half])
        self.may_finish.wait()
        connection.sendall(body[half:])

    def stop(self) -> None:
        self.may_finish.set()
        super().stop()
