"""A long backlog: how long it takes, in how many messages; and what a full collection changes."""

from collections.abc import Iterator
from functools import partial

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate

BACKLOG = 20_000
SETTLED = 1_000_000
TASKS = 2000
RUNS = 3


def measure(lab: Lab) -> Iterator[Row]:
    """One worker process, one run: it is long, and its rate is the one of the small files."""
    url = lab.nginx.http + lab.nginx.add(1024)
    ours = drain.drain(lab, drain.OURS, url, BACKLOG)
    bare = drain.drain(lab, drain.BARE_SESSION, url, BACKLOG)
    rival = "bare, kept Session"
    name = f"backlog of {BACKLOG:,} tasks, 1 worker process"
    yield Row(name=name, unit="s", ours=[ours.seconds], rival_name=rival, rival=[bare.seconds])
    yield Row(
        name=f"{name}, messages",
        unit="messages",
        ours=[ours.messages],
        rival_name=rival,
        rival=[bare.messages],
    )


def measure_full_collection(lab: Lab) -> Iterator[Row]:
    """A million settled tasks beside the backlog, against none."""
    url = lab.nginx.http + lab.nginx.add(1024)
    runs = alternate(
        RUNS,
        full=partial(drain.drain, lab, drain.OURS, url, TASKS, settled=SETTLED),
        empty=partial(drain.drain, lab, drain.OURS, url, TASKS),
    )
    yield Row(
        name=f"1 KiB, with {SETTLED:,} settled tasks in the collection",
        unit="tasks/s",
        ours=[run.tasks_per_second for run in runs["full"]],
        rival_name="itself, empty collection",
        rival=[run.tasks_per_second for run in runs["empty"]],
        is_more_better=True,
    )
