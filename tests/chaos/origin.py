"""An origin whose files are served well, slowly, in two parts, at the second try, or not at all."""

import hashlib
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from devtools.servers.process import free_port

KINDS = ("good", "slow", "cut", "busy", "missing")
SLOW_SECONDS = 1.0  # for each of the four parts of a slow body


def body_of(path: str) -> bytes:
    """The file at a path: some ten kilobytes that no other path has."""
    seed = hashlib.sha256(path.encode()).digest()
    return seed * (1000 + seed[0])


class FickleOrigin:
    """Serves `/<kind>/<number>`."""

    def __init__(self) -> None:
        tries: Counter[str] = Counter()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind = self.path.split("/")[1]
                tries[self.path] += 1
                is_first, body = tries[self.path] == 1, body_of(self.path)
                if kind == "missing" or (kind == "busy" and is_first):
                    is_missing = kind == "missing"
                    self.send_error(HTTPStatus.NOT_FOUND if is_missing else HTTPStatus(503))
                    return
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if kind == "cut" and is_first:
                    self.wfile.write(body[:-1])
                    self.close_connection = True
                elif kind == "slow":
                    for start in range(0, len(body), len(body) // 4 + 1):
                        time.sleep(SLOW_SECONDS)
                        self.wfile.write(body[start : start + len(body) // 4 + 1])
                else:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _QuietServer(("127.0.0.1", free_port()), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Clients that are killed hang up; that is no news."""
