"""How many lanes of a process download at once, apart from long downloads."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from worker.leases import Claim

# A process runs up to this many more lanes, all of them with long downloads.
LONG_DOWNLOADS = 64
POLL_SECONDS = 0.5  # how soon a stop is noticed


class LaneSlots:
    """The slots of a process for lanes, which are given away in the order in which lanes come.

    A lane with a long download gives its slot to the next one and continues beside it, so that
    slow hosts do not hold up the others. May be used from any thread.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total  # the worker sets it when it boots
        self._waiting: deque[Claim] = deque()
        self._having: set[Claim] = set()
        self._long: set[Claim] = set()
        self._changed = threading.Condition()

    @contextmanager
    def taken_by(self, lane: Claim, stopping: threading.Event) -> Iterator[None]:
        """Wait for a slot, which the lane has inside the block. A stop ends the wait."""
        with self._changed:
            self._waiting.append(lane)
            while not (self._is_next(lane) or stopping.is_set()):
                self._changed.wait(POLL_SECONDS)
            self._waiting.remove(lane)
            self._having.add(lane)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._having.discard(lane)
                self._long.discard(lane)
                self._changed.notify_all()

    def _is_next(self, lane: Claim) -> bool:
        return self._waiting[0] is lane and len(self._having) < self.total

    def give_away(self, lane: Claim) -> None:
        """Free the slot of a lane that continues with a long download, unless too many do."""
        with self._changed:
            if lane in self._having and len(self._long) < LONG_DOWNLOADS:
                self._having.remove(lane)
                self._long.add(lane)
                self._changed.notify_all()
