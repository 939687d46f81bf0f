"""What the tests of batches share."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from bench.export import insert_batch
from devtools.servers.deployment import System
from devtools.servers.origin import HttpOrigin, head
from devtools.servers.system import REPLY_SECONDS, Service
from devtools.waiting import PATIENCE, wait_for


def try_to_submit_list(
    service: Service, text: str, headers: dict[str, str] | None = None, **data: str
) -> requests.Response:
    files = {"urls": ("urls.txt", text.encode())}
    return requests.post(
        f"{service.base}/submit", files=files, data=data, headers=headers, timeout=REPLY_SECONDS
    )


def submit_list(service: Service, lines: Sequence[str], **data: str) -> str:
    """Return the id of a new batch."""
    answer = try_to_submit_list(service, "\n".join(lines), None, **data)
    assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
    assert answer.json()["total"] == len(lines)
    return str(answer.json()["id"])


def wait_for_batch(service: Service, batch_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """Return the body of a batch that is done."""
    body: dict[str, Any] = service.wait_for_end(batch_id, seconds).json()
    assert body["status"] == "done", body
    return body


def export(service: Service, task_id: str, **parameters: str) -> requests.Response:
    return requests.get(
        f"{service.base}/export", params={"id": task_id, **parameters}, timeout=REPLY_SECONDS
    )


def curl(curl: str, service: Service, folder: Path, *arguments: str) -> dict[str, Any]:
    """Return the answer to a submission by curl, in JSON."""
    command = [curl, "-s", *arguments, f"{service.base}/submit"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def names_of_host(origin: HttpOrigin) -> tuple[str, str]:
    """Return the base URLs of an origin by two names of its host, which count as two hosts."""
    return origin.base, origin.base.replace("127.0.0.1", "localhost")


TOO_MANY_REQUESTS = "429 Too Many Requests"
UNAVAILABLE = "503 Service Unavailable"


def refusal(seconds: int, status: str = TOO_MANY_REQUESTS) -> bytes:
    """Return an answer that asks for a rest."""
    headers = f"Retry-After: {seconds}\r\nContent-Length: 0\r\n\r\n"
    return f"HTTP/1.1 {status}\r\n{headers}".encode()


class RestingOrigin(HttpOrigin):
    """Refuses its tenth request, and notes when requests come."""

    def __init__(self, seconds: int, status: str) -> None:
        self._refusal = refusal(seconds, status)
        self.moments: list[float] = []
        self.refused_at = 0.0
        self._counting = threading.Lock()
        super().__init__()

    def answer(self, connection: socket.socket, path: str) -> None:
        with self._counting:
            self.moments.append(time.monotonic())
            number = len(self.moments)
        if number == 10:
            self.refused_at = time.monotonic()
            connection.sendall(self._refusal)
        else:
            connection.sendall(head("200 OK", len(path)) + path.encode())


class LateOrigin(HttpOrigin):
    """Has its only file from the second request on."""

    def __init__(self) -> None:
        self._first = threading.Lock()
        super().__init__()

    def answer(self, connection: socket.socket, path: str) -> None:
        is_first = self._first.acquire(blocking=False)  # for ever
        connection.sendall(
            head("404 Not Found", 0) if is_first else head("200 OK", len(path)) + path.encode()
        )


class CrowdedOrigin(HttpOrigin):
    """Answers 429 when more than `most` requests are under way.

    It holds each request back until that happens, for `seconds` at most.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._changed = threading.Condition()
        self._under_way = 0
        self.refused = 0
        super().__init__()

    def answer(self, connection: socket.socket, path: str) -> None:
        with self._changed:
            self._under_way += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._under_way > self._most, self._seconds)
            is_refused = self._under_way > self._most
            self.refused += is_refused
            self._under_way -= 1
        body = path.encode()
        answer = refusal(seconds=1) if is_refused else head("200 OK", len(body)) + body
        connection.sendall(answer)


class Counts:
    """The counts of a batch as `/check` reports them: they always add up and never fall."""

    def __init__(self) -> None:
        self._ended = 0

    def check(self, answer: requests.Response) -> None:
        """Raise AssertionError if the counts are wrong. An answer of 503 has none."""
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        assert answer.ok, answer.text
        tasks = answer.json()["tasks"]
        ended = tasks["done"] + tasks["failed"]
        assert tasks["running"] + ended == tasks["total"], f"the counts do not add up: {tasks}"
        assert ended >= self._ended, f"the counts have fallen: {tasks}"
        is_done = answer.status_code == HTTPStatus.OK
        assert is_done == (ended == tasks["total"]), f"the status is wrong: {tasks}"
        self._ended = ended


def wait_until_some_are_done(service: Service, batch_id: str, count: int) -> None:
    wait_for(lambda: service.check(batch_id).json()["tasks"]["done"] >= count)


def insert_long_batch(system: System) -> str:
    """The buffers of the operating system hide for about a second what a client reads of it."""
    query = "a" * 2000
    return insert_batch(system.store, [f"https://example.com/?{query}"] * 3000)
