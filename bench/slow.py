"""Many slow origins: what more threads bring while each download mostly waits."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate
from devtools.servers.process import free_port
from devtools.waiting import wait_for

PROCESSES = (1, 2, 4)
THREADS = (8, 32, 64)
TASKS_PER_THREAD = 12
RUNS = 2
PAUSE_SECONDS = 0.2


def measure(lab: Lab) -> Iterator[Row]:
    """Workers over RabbitMQ and MongoDB, against the ideal and against as many bare threads."""
    with slow_origin(lab, PAUSE_SECONDS) as url:
        for processes in PROCESSES:
            for threads in THREADS:
                yield from _measure(lab, url, processes, threads)


def _measure(lab: Lab, url: str, processes: int, threads: int) -> Iterator[Row]:
    runs = alternate(
        RUNS,
        ours=partial(_rate, lab, drain.OURS, url, processes, threads),
        bare=partial(_rate, lab, drain.BARE_SESSION, url, processes, threads),
    )
    ideal = processes * threads / PAUSE_SECONDS
    for rival_name, rival in (("bare, kept Session", runs["bare"]), ("the ideal", [ideal])):
        yield Row(
            name=f"origin that waits 200 ms, {processes} x {threads} threads",
            unit="tasks/s",
            ours=runs["ours"],
            rival_name=rival_name,
            rival=rival,
            is_more_better=True,
        )


@contextmanager
def slow_origin(lab: Lab, pause_seconds: float) -> Iterator[str]:
    """Serve a file of 1 KiB after a pause; yield its URL."""
    port = free_port()
    arguments = ("-m", "bench.slow_origin", str(port), str(pause_seconds))
    with lab.program(*arguments, settings={}):
        wait_for(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}/"


def _rate(lab: Lab, contestant: drain.Contestant, url: str, processes: int, threads: int) -> float:
    at_once = processes * threads
    count = TASKS_PER_THREAD * at_once
    drained = drain.drain(lab, contestant, url, count, processes=processes, threads=threads)
    # They end in waves, and the first of these ends when the clock starts.
    return drained.tasks_per_second * (count - at_once) / (count - 1)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
