"""The threads of a process for fast lanes, which long downloads must not keep from the others."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.leases import Claim


class FastThreads:
    """Knows which lanes have these threads. May be used from any thread.

    A lane with a long download may keep its thread while another one is free. Otherwise it has to
    leave it, unless it is among the older half: so some threads are always soon free, and few
    downloads are begun in vain.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total  # the worker sets it when it starts
        self._lanes: list[Claim] = []  # in the order in which they came
        self._lock = threading.Lock()

    @contextmanager
    def taken_by(self, lane: Claim) -> Iterator[None]:
        """Count a lane inside the block."""
        with self._lock:
            self._lanes.append(lane)
        try:
            yield
        finally:
            with self._lock:
                if lane in self._lanes:
                    self._lanes.remove(lane)

    def may_keep(self, lane: Claim) -> bool:
        """Return whether a lane with a long download may keep its thread.

        If not, the thread counts as free at once, so that no second lane leaves in its place. The
        answer is no for a lane that has none.
        """
        with self._lock:
            if lane not in self._lanes:
                return False
            is_old = self._lanes.index(lane) < self.total // 2
            if is_old or len(self._lanes) < self.total:
                return True
            self._lanes.remove(lane)
            return False
