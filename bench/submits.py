"""POST /submit under load, each answer only after the task is in MongoDB's journal."""

import time
from collections.abc import Iterator

from bench.lab import Lab
from bench.load import Load, Request, finish, submits
from bench.rows import Row
from tasks.step import StepKind

CONNECTIONS = (1, 32, 256)
MINUTE_CONNECTIONS = 32
IN_FLIGHT = 1000
RUNS = 3
SECONDS = 3.0
LONG_SECONDS = 60.0


def measure(lab: Lab) -> Iterator[Row]:
    """The service over RabbitMQ and MongoDB, without workers: submitting only."""
    with lab.tasks() as (_, settings), lab.service(**settings) as service:
        url = lab.nginx.http + lab.nginx.add(1024)
        for connections in CONNECTIONS:
            loads = [submits(service.base, url, connections, SECONDS).run() for _ in range(RUNS)]
            name = f"submit, {connections} connection{'s' if connections > 1 else ''}"
            yield Row(
                name=name,
                unit="submits/s",
                ours=[load.answers_per_second for load in loads],
                is_more_better=True,
            )
            yield Row(name=f"{name}, median", unit="ms", ours=[load.p50 for load in loads])
            yield Row(name=f"{name}, p99", unit="ms", ours=[load.p99 for load in loads])
        yield Row(
            name=f"/health/live, p99 while {IN_FLIGHT:,} submits are in flight",
            unit="ms",
            ours=[_ask_health_under_load(service.base, url).p99 for _ in range(RUNS)],
        )
    yield from _publish_for_a_minute(lab)


def _publish_for_a_minute(lab: Lab) -> Iterator[Row]:
    """Messages must keep up with submissions, or the queue in the service runs full."""
    with lab.tasks() as (tasks, settings), lab.service(**settings) as service:
        url = lab.nginx.http + lab.nginx.add(1024)
        began = time.monotonic()
        load = submits(service.base, url, MINUTE_CONNECTIONS, LONG_SECONDS).run()
        seconds = time.monotonic() - began
        published = lab.rabbitmq.waiting()[StepKind.COMPUTE_MD5.value] / seconds
        submitted = tasks.estimated_document_count() / seconds
    name = f"a minute of submits, {MINUTE_CONNECTIONS} connections"
    yield Row(
        name=f"{name}, messages published",
        unit="messages/s",
        ours=[published],
        rival_name="submits/s",
        rival=[submitted],
        is_more_better=True,
    )
    yield Row(name=f"{name}, p99", unit="ms", ours=[load.p99])


def _ask_health_under_load(base: str, url: str) -> Load:
    load = submits(base, url, IN_FLIGHT, 2 * SECONDS).start()
    health = Request(base, ["/health/live"], "", 1, SECONDS).run()
    finish(load)
    return health
