"""A load generator over kept connections, in a process of its own: `python -m bench.load`.

Each connection sends its next request when the last one is answered, or at fixed intervals. If an
answer takes longer than the interval, the requests that it holds up count from the moment at which
they were due, so that a long stall counts for all of them.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast
from urllib.parse import urlencode, urlsplit

import uvloop

from bench.rows import percentile
from devtools.servers.process import PROJECT

WARM_UP_SECONDS = 0.5  # answers that are not counted
STOP_SECONDS = 30  # for the answers under way at the end


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it; latencies are milliseconds."""

    answers: int
    answers_per_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Request:
    """GETs, or POSTs with a form; how many connections repeat them, and for how long.

    The paths are shared out among the connections. Without an interval, a connection sends its next
    request as soon as it has an answer.
    """

    base: str
    paths: Sequence[str]
    form: str
    connections: int
    seconds: float
    interval_seconds: float = 0.0

    def encode(self, number: int) -> bytes:
        """Return the request of a connection, counted from 0."""
        host, path = urlsplit(self.base).netloc, self.paths[number % len(self.paths)]
        if not self.form:
            return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        kind = "application/x-www-form-urlencoded"
        length = len(self.form)
        head = f"Host: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
        return f"POST {path} HTTP/1.1\r\n{head}\r\n{self.form}".encode()

    def start(self) -> "subprocess.Popen[str]":
        """Begin in another process; `finish` has its result."""
        command = [sys.executable, "-m", "bench.load", json.dumps(asdict(self))]
        return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)

    def run(self) -> Load:
        """The same, from start to end."""
        return finish(self.start(), self.seconds)


def submits(base: str, url: str, connections: int, seconds: float) -> Request:
    """Submit the URL again and again."""
    return Request(base, ["/submit"], urlencode({"url": url}), connections, seconds)


def finish(program: "subprocess.Popen[str]", seconds: float = STOP_SECONDS) -> Load:
    """The result of a load, once it has ended, in about that time."""
    with program:
        try:
            output, _ = program.communicate(timeout=seconds + 2 * STOP_SECONDS)
        finally:
            program.kill()
    assert program.returncode == 0
    return Load(**json.loads(output))


class _Client(asyncio.Protocol):
    """One connection; `ended` has an exception after an answer that is none of success."""

    def __init__(
        self, request: bytes, interval_seconds: float, latencies: list[tuple[float, float]]
    ) -> None:
        self._request = request
        self._interval_seconds = interval_seconds
        self._latencies = latencies
        self._answer = b""
        self._is_stopping = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._is_waiting = True
        # Connections with an interval begin at different times.
        self._due_at = time.perf_counter() + random.uniform(0, self._interval_seconds)
        self._send_when_due()

    def _send_when_due(self) -> None:
        wait_seconds = self._due_at - time.perf_counter()
        if self._interval_seconds and wait_seconds <= 0:
            self._send(self._due_at)
        else:
            asyncio.get_running_loop().call_later(max(wait_seconds, 0), self._send)

    def _send(self, began: float | None = None) -> None:
        """Send the request. Its latency counts from `began`, by default from now."""
        if self._transport.is_closing():
            return
        self._is_waiting = False
        self._began = time.perf_counter() if began is None else began
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, mark, body = self._answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: ([0-9]+)", head)
        if not mark or (length and len(body) < int(length[1])):
            return
        now = time.perf_counter()
        self._latencies.append((now, now - self._began))
        if self._is_stopping or not head.startswith(b"HTTP/1.1 20"):
            self._transport.close()
        else:
            self._answer = b""
            self._is_waiting = True
            self._due_at += self._interval_seconds
            self._send_when_due()

    def connection_lost(self, _exception: Exception | None) -> None:
        if self._is_stopping:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(ConnectionError(f"refused or closed: {self._answer!r}"))

    def stop(self) -> None:
        """End after the answer that is under way."""
        self._is_stopping = True
        if self._is_waiting:
            self._transport.close()


async def generate(request: Request) -> Load:
    """Make the load in this process."""
    loop = asyncio.get_running_loop()
    host, _, port = urlsplit(request.base).netloc.partition(":")
    latencies: list[tuple[float, float]] = []
    clients: list[_Client] = []
    for number in range(request.connections):
        encoded = request.encode(number)
        _, client = await loop.create_connection(
            partial(_Client, encoded, request.interval_seconds, latencies), host, int(port)
        )
        clients.append(client)
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + request.seconds
    ends = [client.ended for client in clients]
    await asyncio.wait(
        ends, timeout=WARM_UP_SECONDS + request.seconds, return_when=asyncio.FIRST_EXCEPTION
    )
    for client in clients:
        client.stop()
    await asyncio.wait_for(asyncio.gather(*ends), STOP_SECONDS)
    counted = [1000 * latency for moment, latency in latencies if begin <= moment < end]
    return Load(
        answers=len(counted),
        answers_per_second=len(counted) / request.seconds,
        p50=percentile(counted, 50),
        p99=percentile(counted, 99),
    )


def main() -> None:
    """Make the load that the argument describes; the result goes to the standard output."""
    request = Request(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(asdict(runner.run(generate(request))), sys.stdout)


if __name__ == "__main__":
    main()
