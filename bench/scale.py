"""The throughput with many batches, many hosts, and many waiting members."""

from collections.abc import Iterator
from functools import partial

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate

TASKS = 10_000
RUNS = 3
BATCHES = 100
PER_HOST = 4  # as by default
ONE_BATCH = "itself, one batch of 10,000 from one host"
# Ended members after which the worker is stopped. Each batch has then had several turns.
UNTIL = 200_000


def measure(lab: Lab) -> Iterator[Row]:
    """10,000 files in many batches, and from many hosts, with one worker process."""
    path = lab.nginx.add(2**10)
    url, hosts = lab.nginx.http + path, [host + path for host in lab.nginx.hosts]
    runs = alternate(
        RUNS,
        one=partial(drain.drain_batches, lab, [[url] * TASKS]),
        batches=partial(
            drain.drain_batches, lab, [[url] * (TASKS // BATCHES)] * BATCHES, per_host=PER_HOST
        ),
        hosts=partial(drain.drain_batches, lab, [hosts * (TASKS // len(hosts))], per_host=PER_HOST),
    )
    for name, what in (("batches", f"in {BATCHES} batches"), ("hosts", f"from {len(hosts)} hosts")):
        yield Row(
            name=f"10,000 files of 1 KiB {what}, 1 worker process",
            unit="tasks/s",
            ours=[run.tasks_per_second for run in runs[name]],
            rival_name=ONE_BATCH,
            rival=[run.tasks_per_second for run in runs["one"]],
            is_more_better=True,
        )


def measure_million(lab: Lab) -> Iterator[Row]:
    """100 batches of 10,000 at once, and how evenly they share the worker."""
    url = lab.nginx.http + lab.nginx.add(2**10)
    one = drain.drain_batches(lab, [[url] * TASKS])
    many = drain.drain_batches(lab, [[url] * TASKS] * BATCHES, per_host=PER_HOST, until=UNTIL)
    name = f"{BATCHES} batches of 10,000 files of 1 KiB at once, 1 worker process"
    yield Row(
        name=name,
        unit="tasks/s",
        ours=[many.tasks_per_second],
        rival_name=ONE_BATCH,
        rival=[one.tasks_per_second],
        is_more_better=True,
    )
    yield Row(
        name=f"{name}, done in the slowest batch after {UNTIL:,}",
        unit="tasks",
        ours=[min(many.ended)],
        rival_name="the fastest batch",
        rival=[max(many.ended)],
        is_more_better=True,
    )
