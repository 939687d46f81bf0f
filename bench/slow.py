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

THREADS = (8, 32, 64)
TASKS_PER_THREAD = 12
RUNS = 3
PAUSE_SECONDS = 0.2


def measure(lab: Lab) -> Iterator[Row]:
    """One worker process over RabbitMQ and MongoDB, against a bare one of as many threads."""
    with slow_origin(lab, PAUSE_SECONDS) as url:
        for threads in THREADS:
            runs = alternate(
                RUNS,
                ours=partial(_rate, lab, drain.OURS, url, threads),
                bare=partial(_rate, lab, drain.BARE_SESSION, url, threads),
            )
            yield Row(
                name=f"origin that waits 200 ms, {threads} threads",
                unit="tasks/s",
                ours=runs["ours"],
                rival_name="bare, kept Session",
                rival=runs["bare"],
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


def _rate(lab: Lab, contestant: drain.Contestant, url: str, threads: int) -> float:
    count = TASKS_PER_THREAD * threads
    drained = drain.drain(lab, contestant, url, count, threads=threads)
    # They end in waves, and the first of these ends when the clock starts.
    return drained.tasks_per_second * (count - threads) / (count - 1)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
