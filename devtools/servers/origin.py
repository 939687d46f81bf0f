"""Where the files are downloaded from."""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Self


class Origin:
    """Files over HTTP at any path; a test holds back the end of all bodies with `hold`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            while request := lines.readline():
                while lines.readline().strip():
                    pass
                path = request.split()[1].decode()
                self.requests.append(path)
                body = self._files.get(path.partition("?")[0])
                status = "404 Not Found" if body is None else "200 OK"
                body = body or b""
                half = len(body) // 2
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                connection.sendall(head + body[:half])
                self.may_finish.wait()
                connection.sendall(body[half:])

    def stop(self) -> None:
        self.may_finish.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
