"""Clients that keep their connections open without asking, and what they cost."""

import resource
from collections.abc import Iterator

from bench.clients import clients
from bench.lab import Lab
from bench.load import Load, Request
from bench.rows import Row
from devtools.servers.system import Service

MOST_CLIENTS = 10_000
OTHERS = 100  # descriptors of the service for all else, at most
CONNECTIONS, INTERVAL_SECONDS = 4, 0.01
SECONDS = 5.0


def measure(lab: Lab) -> Iterator[Row]:
    """Each has been answered once, and may ask again."""
    # The service accepts half as many connections as it may have descriptors.
    count = min(MOST_CLIENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - OTHERS)
    with lab.tasks() as (_, settings), lab.service(**settings) as service:
        task_id = service.submit("http://127.0.0.1/")
        alone, before = _ask(service, task_id), service.peak_memory()
        with clients(service, ["/health/live"] * count) as connections:
            assert all(connection.recv(2**12) for connection in connections)
            memory = service.peak_memory() - before
            beside = _ask(service, task_id)
    name = f"{count:,} idle clients"
    yield Row(name=f"{name}, memory of each", unit="KiB", ours=[memory / 2**10 / count])
    yield Row(
        name=f"/check beside {name}, p99",
        unit="ms",
        ours=[beside.p99],
        rival_name="itself, without them",
        rival=[alone.p99],
    )


def _ask(service: Service, task_id: str) -> Load:
    path = f"/check?id={task_id}"
    return Request(service.base, [path], "", CONNECTIONS, SECONDS, INTERVAL_SECONDS).run()
