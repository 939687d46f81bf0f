"""Keeps the number of stored tasks near MAX_STORED."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tasks.stores.contract import TaskStore
from worker import metrics

BATCH = 500  # tasks removed in one go
BATCHES = 10  # in one call, which must not delay the sweeper
# One process trims in each window, so that several do not remove what is too much several times.
WINDOW = timedelta(seconds=5)
COUNT_SHARE = 20  # a process counts again after this many times as long as counting took
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Trimmer:
    """Removes settled tasks, those that expire first, while more than `most` are stored.

    Unfinished tasks are never removed: MAX_UNFINISHED bounds these.
    """

    def __init__(
        self, store: TaskStore, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep at most `most` tasks; 0 for no limit. `clock` measures how long a count takes."""
        self._store = store
        self._most = most
        self._clock = clock
        self._window_end = EPOCH
        self._excess = 0
        self._count_at = -math.inf

    def trim(self) -> None:
        """Remove some tasks if there are too many, and if it is the turn of this process.

        Raises StoreUnavailableError.
        """
        if not self._most:
            return
        now = self._store.now()
        if now >= self._window_end:
            self._window_end = now + WINDOW - (now - EPOCH) % WINDOW
            self._excess = self._count_excess()
        for _ in range(BATCHES):
            if self._excess <= 0 or self._store.now() >= self._window_end:
                return
            removed = self._store.remove_settled(min(self._excess, BATCH))
            metrics.trimmed.inc(amount=removed)
            self._excess = self._excess - removed if removed else 0

    def _count_excess(self) -> int:
        """How many tasks are too many; 0 if another process has this window's turn."""
        began = self._clock()
        if began < self._count_at:
            return 0
        if self._store.count_hits({"trim": 1}, self._window_end)["trim"] > 1:
            return 0
        stored = self._store.count_stored()
        ended = self._clock()
        self._count_at = ended + COUNT_SHARE * (ended - began)
        return stored - self._most
