"""The throughput with more batches, hosts and members, and with a million waiting members."""

from collections.abc import Iterator, Sequence
from functools import partial

from bench import drain
from bench.drain import Drained
from bench.lab import Lab
from bench.rows import Row, alternate

TASKS = 4000
RUNS = 2
MANY = (10, 100)
FEWER, MORE = TASKS // 2, TASKS * 2
THREADS = 8  # all of which one batch from one host has to keep busy
PER_HOST = 4  # as by default
BATCHES = 100
MEMBERS = 10_000  # of each of these batches
# Ended members after which the worker is stopped. Each batch has then had several turns.
UNTIL = 200_000


def measure(lab: Lab) -> Iterator[Row]:
    """Three sizes of each dimension, with one worker process; the smallest is the rival."""
    path = lab.nginx.add(2**10)
    url, hosts = lab.nginx.http + path, [host + path for host in lab.nginx.hosts]
    sizes = (FEWER, TASKS, MORE)
    one_batch = {_one_batch(size): [[url] * size] for size in sizes}
    batches = {f"{TASKS:,} files in {n} batches": [[url] * (TASKS // n)] * n for n in MANY}
    lists = {f"{TASKS:,} files from {n} hosts": [hosts[:n] * (TASKS // n)] for n in MANY}
    run, run_many = (partial(drain.drain_batches, lab, per_host=n) for n in (THREADS, PER_HOST))
    runs = alternate(
        RUNS,
        **{name: partial(run, urls) for name, urls in one_batch.items()},
        **{name: partial(run_many, urls) for name, urls in {**batches, **lists}.items()},
    )
    fewer, one, more, *others = runs
    for name, smallest in ((one, fewer), (more, fewer), *((name, one) for name in others)):
        yield _row(name, runs[name], smallest, runs[smallest])


def _one_batch(size: int) -> str:
    return f"{size:,} files in one batch from one host"


def _row(name: str, ours: Sequence[Drained], rival_name: str, rival: Sequence[Drained]) -> Row:
    return Row(
        name=f"{name}, 1 KiB, 1 worker process",
        unit="tasks/s",
        ours=[run.tasks_per_second for run in ours],
        rival_name=rival_name,
        rival=[run.tasks_per_second for run in rival],
        is_more_better=True,
    )


def measure_million(lab: Lab) -> Iterator[Row]:
    """100 batches of 10,000 at once, and how evenly they share the worker."""
    url = lab.nginx.http + lab.nginx.add(2**10)
    one = drain.drain_batches(lab, [[url] * MEMBERS])
    many = drain.drain_batches(lab, [[url] * MEMBERS] * BATCHES, per_host=PER_HOST, until=UNTIL)
    name = f"{BATCHES} batches of {MEMBERS:,} files at once"
    yield _row(name, [many], _one_batch(MEMBERS), [one])
    yield Row(
        name=f"{name}, done in the slowest batch after {UNTIL:,}",
        unit="tasks",
        ours=[min(many.ended)],
        rival_name="the fastest batch",
        rival=[max(many.ended)],
        is_more_better=True,
    )
