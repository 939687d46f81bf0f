"""Quotas: how much one client or recipient may cause, and how much may be unfinished in all."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tasks.errors import StoreUnavailableError
from tasks.stores.contract import HitCounter, Statistics

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A count of the unfinished tasks is valid for a second, or for twenty times as long as it took.
COUNT_SECONDS = 1.0
COUNT_SHARE = 20


class RateLimit:
    """At most `most` hits of one key in each window, counted by all who share the store.

    Windows are fixed: a minute is that of the clock.
    """

    def __init__(
        self, store: HitCounter, name: str, most: int, window: timedelta, *, widening: int = 1
    ) -> None:
        """Allow a key `most` hits in each window; 0 for no limit.

        Of nested keys, each has `widening` times the limit of the one within it.
        """
        self._store = store
        self._name = name
        self._most = most
        self._window = window
        self._widening = widening

    def hit(self, keys: Sequence[str]) -> list[timedelta]:
        """Count one more hit of each key, in their order, and return how long each must wait.

        Within the limit that is zero. A key over the limit waits for the next window. If that
        window is already taken, the key waits for the one after it, and so on. Raises
        StoreUnavailableError.
        """
        return self.hit_nested([(key,) for key in keys])

    def hit_nested(self, keys: Sequence[Sequence[str]]) -> list[timedelta]:
        """Do as `hit`, where each hit counts for several keys: the narrowest first."""
        if not self._most:
            return [timedelta(0)] * len(keys)
        now, end = self._current_window()
        more = Counter(f"{self._name} {key}" for nested in keys for key in nested)
        hits = self._store.count_hits(more, end)
        before = {key: hits[key] - count for key, count in more.items()}
        pauses = []
        for nested in keys:
            windows, most = 0, self._most
            for key in nested:
                windows = max(windows, before[f"{self._name} {key}"] // most)
                before[f"{self._name} {key}"] += 1
                most *= self._widening
            pauses.append(end - now + (windows - 1) * self._window if windows else timedelta(0))
        return pauses

    def hit_many(self, nested: Sequence[str], count: int) -> timedelta:
        """Count several hits of nested keys, all or nothing, and return how long they must wait."""
        if not self._most:
            return timedelta(0)
        now, end = self._current_window()
        more = {f"{self._name} {key}": count for key in nested}
        hits = self._store.count_hits(more, end)
        limits = (self._most * self._widening**level for level in range(len(nested)))
        if all(hits[key] <= most for key, most in zip(more, limits, strict=True)):
            return timedelta(0)
        self._store.count_hits(dict.fromkeys(more, -count), end)
        return end - now

    def _current_window(self) -> tuple[datetime, datetime]:
        """Return the time, and the end of its window."""
        now = self._store.now()
        return now, now + self._window - (now - EPOCH) % self._window


class CapacityLimit:
    """At most `most` unfinished tasks, give or take what changes between two counts."""

    def __init__(
        self, store: Statistics, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow `most` tasks. `clock` says how old a count is, in seconds."""
        self._store = store
        self._most = most
        self._clock = clock
        self._count: int | None = None
        self._recount_at = 0.0

    def remaining(self) -> int:
        """Return how many more tasks are allowed. For one thread.

        The first count is waited for, and raises StoreUnavailableError. Later ones run in the
        background.
        """
        if self._count is None:
            self._recount()
        elif self._clock() > self._recount_at:
            self._recount_at = math.inf
            threading.Thread(target=self._try_to_recount, name="capacity", daemon=True).start()
        assert self._count is not None
        return max(self._most - self._count, 0)

    def record_inserts(self, count: int) -> None:
        """Add tasks that were inserted, until the next count."""
        assert self._count is not None
        self._count += count

    def _try_to_recount(self) -> None:
        try:
            self._recount()
        except StoreUnavailableError:  # the old count has to do
            self._recount_at = self._clock() + COUNT_SECONDS

    def _recount(self) -> None:
        began = self._clock()
        self._count = self._store.count_unfinished(self._most)
        took = self._clock() - began
        self._recount_at = self._clock() + max(COUNT_SECONDS, COUNT_SHARE * took)
