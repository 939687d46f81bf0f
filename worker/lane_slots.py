"""Limits how many lanes run at once in a process."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# A process continues up to this many long downloads without a slot.
LONG_DOWNLOADS = 64
POLL_SECONDS = 0.5  # how soon a stop is noticed


class LaneSlots:
    """The slots of a process for lanes. Each is that of the thread which runs the lane.

    They are granted in the order of arrival. A lane whose download is longer than its turn frees
    its slot and continues without one, so slow hosts do not hold up the others. May be used from
    any thread.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total  # the worker sets it when it boots
        self._waiting: deque[int] = deque()  # these are threads
        self._holders: set[int] = set()
        self._long: set[int] = set()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, stopping: threading.Event) -> Iterator[None]:
        """Wait for a slot, which the calling thread has inside the block. A stop ends the wait."""
        thread = threading.get_ident()
        with self._changed:
            self._waiting.append(thread)
            while not (self._is_next(thread) or stopping.is_set()):
                self._changed.wait(POLL_SECONDS)
            self._waiting.remove(thread)
            self._holders.add(thread)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._holders.discard(thread)
                self._long.discard(thread)
                self._changed.notify_all()

    def _is_next(self, thread: int) -> bool:
        return self._waiting[0] == thread and len(self._holders) < self.total

    def free(self, thread: int) -> None:
        """Free the slot of a thread with a long download, unless too many have one already."""
        with self._changed:
            if thread in self._holders and len(self._long) < LONG_DOWNLOADS:
                self._holders.remove(thread)
                self._long.add(thread)
                self._changed.notify_all()
