"""How much one client or one recipient may cause, and how much may be open in all."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tasks.errors import StoreUnavailableError
from tasks.store import TaskStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A count of the unsettled tasks is good for a second, or for twenty times as long as it took.
COUNT_SECONDS = 1.0
COUNT_SHARE = 20


class RateLimit:
    """At most so many hits of one key in each window, which all who share the store count.

    The windows are fixed ones: a minute is that of the clock.
    """

    def __init__(self, store: TaskStore, name: str, most: int, window: timedelta) -> None:
        """`most` hits a window; 0 for no limit."""
        self._store = store
        self._name = name
        self._most = most
        self._window = window

    def hit(self, key: str) -> timedelta:
        """Count one more hit; how long it is to wait, which is zero within the limit.

        Those over the limit are told to wait for the next window, or, if there are too many of
        them for that one, for the one after it, and so on. Raises StoreUnavailableError.
        """
        if not self._most:
            return timedelta(0)
        now = self._store.now()
        end = now + self._window - (now - EPOCH) % self._window
        windows = (self._store.count_hit(f"{self._name} {key}", end) - 1) // self._most
        return end - now + (windows - 1) * self._window if windows else timedelta(0)


class Ceiling:
    """At most so many unsettled tasks, give or take what other processes add within seconds."""

    def __init__(self, store: TaskStore, most: int) -> None:
        self._store = store
        self._most = most
        self._counting = threading.Lock()
        self._count = 0
        self._recount_at = 0.0

    def is_reached(self) -> bool:
        """Whether there is no room for one more task, by the last count."""
        # A million tasks take seconds to count: nobody waits for that, but for the first time.
        if time.monotonic() > self._recount_at and self._counting.acquire(blocking=False):
            if self._recount_at:
                threading.Thread(target=self._recount, name="ceiling", daemon=True).start()
            else:
                self._recount()
        return self._count >= self._most

    def _recount(self) -> None:
        began = time.monotonic()
        try:
            with suppress(StoreUnavailableError):  # then nothing can be inserted, either
                self._count = self._store.survey(self._store.now()).total
        finally:
            took = time.monotonic() - began
            self._recount_at = time.monotonic() + max(COUNT_SECONDS, COUNT_SHARE * took)
            self._counting.release()

    def note_insert(self) -> None:
        """One more task, until the next count."""
        self._count += 1
