"""Heartbeats: each loop of a worker touches a file of its own each time it goes round.

The files are in the exporter's folder, which belongs to one start of `dramatiq actors`, and are
read by `python -m worker.health`. Touching one needs neither a descriptor nor space on the disk.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from telemetry.run_folder import HEARTBEAT_PREFIX

Beat = Callable[[str], None]  # takes the name of a loop


def no_beat(_loop: str) -> None:
    """Do nothing: for loops of the service, whose health is asked over HTTP."""


class Heartbeats:
    """The heartbeats of this process."""

    def __init__(self, folder: Path, loops: Iterable[str]) -> None:
        """Begin with a beat of each loop, so that one that never starts is missed."""
        parent = multiprocessing.parent_process()
        master = os.getpid() if parent is None else parent.pid
        self._prefix = folder / f"{HEARTBEAT_PREFIX}{os.getpid()}_{master}_"
        self._threads: set[Thread] = set()
        self._lock = Lock()
        for loop in loops:
            self.beat(loop)

    def watch(self, thread: Thread) -> None:
        """End all heartbeats once this thread has ended, unless it is forgotten before."""
        with self._lock:
            self._threads.add(thread)

    def forget(self, thread: Thread) -> None:
        """Expect no more of a thread that ends in good order."""
        with self._lock:
            self._threads.discard(thread)

    def beat(self, loop: str) -> None:
        """Report that a loop goes on. Raises nothing."""
        with self._lock:
            threads = list(self._threads)
        if all(thread.is_alive() for thread in threads):
            with suppress(OSError):
                Path(f"{self._prefix}{loop}").touch()
