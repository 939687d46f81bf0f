"""A thousand requests that wait for tasks (`Prefer: wait`), and what they cost everything else."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from socket import socket

import requests

from bench.clients import clients
from bench.lab import Lab
from bench.load import Load, Request
from bench.rows import Row, percentile
from bench.slow import slow_origin
from devtools.servers.system import Service

WAITERS = 1000
TASKS = 100
SINGLES = 40
SINGLE_SECONDS = 0.3
SECONDS = 5.0
NAME = f"{WAITERS:,} requests wait"


def measure(lab: Lab) -> Iterator[Row]:
    """The health of the service, the queries of MongoDB, and how late a result arrives."""
    yield from _measure_load(lab)
    yield from _measure_delay(lab)


def _measure_load(lab: Lab) -> Iterator[Row]:
    """Without workers, so all queries are those of the service."""
    with lab.tasks() as (_, settings), lab.service(**settings) as service:
        ids = [service.submit(f"http://127.0.0.1/{number}") for number in range(TASKS)]
        idle = _live(service)
        with _waiting(service, ids, WAITERS):
            began, before = time.monotonic(), _queries(lab)
            load = _live(service)
            queries = (_queries(lab) - before) / (time.monotonic() - began)
    yield Row(
        name=f"/health/live while {NAME}, p99",
        unit="ms",
        ours=[load.p99],
        rival_name="itself, idle",
        rival=[idle.p99],
    )
    yield Row(name=f"queries of MongoDB while {NAME}", unit="queries/s", ours=[queries])


def _measure_delay(lab: Lab) -> Iterator[Row]:
    """The others wait for batches, which have threads of their own."""
    worker = ("-m", "dramatiq", "actors", "-p", "1", "-t", "8")
    with (
        slow_origin(lab, 60) as slow_url,
        slow_origin(lab, SINGLE_SECONDS) as url,
        lab.tasks() as (_, settings),
        lab.program(*worker, settings=settings),
        lab.service(**settings) as service,
    ):
        ids = [_submit_list(service, slow_url) for _ in range(TASKS)]
        alone = [_delay(service, url) for _ in range(SINGLES)]
        with _waiting(service, ids, WAITERS - 1):
            beside = [_delay(service, url) for _ in range(SINGLES)]
    for delays, others in ((alone, "alone"), (beside, f"while {NAME}")):
        yield Row(
            name=f"from the end of a task to the answer of a submission that waits, {others}, p99",
            unit="ms",
            ours=[percentile(delays, 99)],
        )


def _waiting(
    service: Service, ids: Sequence[str], count: int
) -> AbstractContextManager[Sequence[socket]]:
    paths = (f"/check?id={ids[number % len(ids)]}" for number in range(count))
    return clients(service, paths, "Prefer: wait=60")


def _live(service: Service) -> Load:
    return Request(service.base, ["/health/live"], "", 4, SECONDS, 0.01).run()


def _queries(lab: Lab) -> int:
    return int(lab.mongod.command("serverStatus")["opcounters"]["query"])


def _submit_list(service: Service, url: str) -> str:
    answer = requests.post(f"{service.base}/submit", data={"urls": url}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _delay(service: Service, url: str) -> float:
    """Return the milliseconds from the end of a task to the answer."""
    answer = requests.post(
        f"{service.base}/submit", data={"url": url}, headers={"Prefer": "wait=60"}, timeout=90
    )
    arrived = time.time()
    finished_at = datetime.fromisoformat(answer.json()["finished_at"])
    return 1000 * (arrived - finished_at.timestamp())
