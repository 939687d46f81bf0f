"""Clients that keep their connections open without asking, and what they cost."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from bench.lab import Lab
from bench.load import Load, Request
from bench.rows import Row
from devtools.servers.system import Service

CLIENTS = 10_000
CONNECTIONS, PAUSE_SECONDS = 4, 0.01
SECONDS = 5.0
NAME = f"{CLIENTS:,} idle clients"


def measure(lab: Lab) -> Iterator[Row]:
    """Each has been answered once, and may ask again."""
    with lab.tasks() as (_, settings), lab.service(**settings) as service:
        task_id = service.submit("http://127.0.0.1/")
        alone, before = _ask(service, task_id), service.peak_memory()
        with _idle_clients(service):
            memory = service.peak_memory() - before
            beside = _ask(service, task_id)
    yield Row(name=f"{NAME}, memory of each", unit="KiB", ours=[memory / 2**10 / CLIENTS])
    yield Row(
        name=f"/check beside {NAME}, p99",
        unit="ms",
        ours=[beside.p99],
        rival_name="itself, without them",
        rival=[alone.p99],
    )


def _ask(service: Service, task_id: str) -> Load:
    path = f"/check?id={task_id}"
    return Request(service.base, [path], "", CONNECTIONS, SECONDS, PAUSE_SECONDS).run()


@contextmanager
def _idle_clients(service: Service) -> Iterator[None]:
    host = urlsplit(service.base)
    head = f"GET /health/live HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode()
    with ExitStack() as opened:
        for _ in range(CLIENTS):
            connection = opened.enter_context(socket.create_connection((host.hostname, host.port)))
            connection.sendall(head)
            assert connection.recv(2**12)
        time.sleep(1)
        yield
