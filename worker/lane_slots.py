"""Limits how many lanes run at once in a process."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# A process continues up to this many long downloads without a slot.
LONG_DOWNLOADS = 64
POLL_SECONDS = 0.5  # how soon a stop is noticed


@dataclass(frozen=True, slots=True)
class _Waiter:
    thread: int
    is_granted: threading.Event = field(default_factory=threading.Event)


class LaneSlots:
    """The slots of a process for lanes, granted in the order of arrival.

    A slot belongs to the thread that runs the lane. If a download takes longer than a turn, the
    thread frees its slot and continues without one, so that slow hosts do not hold up the others.
    May be used from any thread.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total  # the worker sets it when it boots
        self._waiting: deque[_Waiter] = deque()
        self._holders: set[int] = set()  # ids of threads, as are the next ones
        self._long: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, stopping: threading.Event) -> Iterator[None]:
        """Wait for a slot, which the calling thread has inside the block. A stop ends the wait."""
        waiter = _Waiter(threading.get_ident())
        with self._lock:
            self._waiting.append(waiter)
            self._grant()
        try:
            while not (waiter.is_granted.wait(POLL_SECONDS) or stopping.is_set()):
                pass
            yield
        finally:
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                self._holders.discard(waiter.thread)
                self._long.discard(waiter.thread)
                self._grant()

    def free(self, thread: int) -> None:
        """Free the slot of a thread with a long download, unless too many already continue so."""
        with self._lock:
            if thread in self._holders and len(self._long) < LONG_DOWNLOADS:
                self._holders.remove(thread)
                self._long.add(thread)
                self._grant()

    def _grant(self) -> None:
        while self._waiting and len(self._holders) < self.total:
            waiter = self._waiting.popleft()
            self._holders.add(waiter.thread)
            waiter.is_granted.set()
