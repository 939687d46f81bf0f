"""Small files, one task each: our workers against bare ones, and the service without servers."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from bench import cpu, drain
from bench.drain import Contestant
from bench.lab import Lab
from bench.load import submits
from bench.rows import Row, alternate
from devtools.waiting import FIRST_PAUSE, wait_for

TASKS = 2000
RUNS = 3
CONNECTIONS = 8  # that submit to the embedded service
SECONDS = 2.0
SIZES = {"1 KiB": 2**10, "64 KiB": 2**16}
BARE = "bare, requests.get"
SESSION = "bare, kept Session"
LAX = "bare, kept Session, w=1"
ALL = {BARE: drain.BARE, SESSION: drain.BARE_SESSION, LAX: drain.BARE_SESSION_LAX}
FAIREST = {SESSION: drain.BARE_SESSION}


def measure(lab: Lab) -> Iterator[Row]:
    """A backlog over RabbitMQ and MongoDB, per size of the files and number of processes."""
    for size, processes, rivals in (
        ("1 KiB", 1, ALL),
        ("1 KiB", 2, FAIREST),
        ("64 KiB", 1, FAIREST),
        ("64 KiB", 2, FAIREST),
    ):
        name = f"{size}, {processes} worker process{'es' if processes > 1 else ''}"
        yield from _compare(lab, name, SIZES[size], rivals, processes)
    yield from _embedded(lab)


def _compare(
    lab: Lab, name: str, size: int, rivals: dict[str, Contestant], processes: int
) -> Iterator[Row]:
    url = lab.nginx.http + lab.nginx.add(size)
    runs = alternate(
        RUNS,
        **{
            who: partial(drain.drain, lab, contestant, url, TASKS, processes=processes)
            for who, contestant in {"ours": drain.OURS, **rivals}.items()
        },
    )
    for rival in rivals:
        yield Row(
            name=name,
            unit="tasks/s",
            ours=[run.tasks_per_second for run in runs["ours"]],
            rival_name=rival,
            rival=[run.tasks_per_second for run in runs[rival]],
            is_more_better=True,
        )
    yield Row(
        name=f"{name}, processor time",
        unit="s/1,000 tasks",
        ours=[run.cpu_seconds for run in runs["ours"]],
        rival_name=SESSION,
        rival=[run.cpu_seconds for run in runs[SESSION]],
    )


def _embedded(lab: Lab) -> Iterator[Row]:
    for size, length in SIZES.items():
        url = lab.nginx.http + lab.nginx.add(length)
        rates, cpu_seconds = zip(*(submit_and_wait(lab, url) for _ in range(RUNS)), strict=True)
        name = f"{size}, embedded, while submits come in"
        yield Row(name=name, unit="tasks/s", ours=rates, is_more_better=True)
        yield Row(name=f"{name}, processor time", unit="s/1,000 tasks", ours=cpu_seconds)


def submit_and_wait(lab: Lab, url: str) -> tuple[float, float]:
    """Tasks per second from the first result to the last; processor seconds for 1,000 of them."""
    data = lab.new_folder()
    with lab.service(DATA_DIR=str(data)) as service:
        used = cpu.of_group(service.pid)
        submits(service.base, url, CONNECTIONS, SECONDS).run()
        with closing(sqlite3.connect(data / "tasks.sqlite3")) as connection:
            unsettled = "SELECT count(*) FROM tasks WHERE wake_at IS NOT NULL"
            wait_for(
                lambda: connection.execute(unsettled).fetchone() == (0,),
                120,
                longest_pause=FIRST_PAUSE,
            )
            count, first, last = connection.execute(
                "SELECT count(*), min(finished_at), max(finished_at)"
                " FROM (SELECT json_extract(document, '$.finished_at') AS finished_at FROM tasks)"
            ).fetchone()
        cpu_seconds = cpu.of_group(service.pid) - used
    return (count - 1) / (last - first) * 1000, cpu_seconds / count * 1000
