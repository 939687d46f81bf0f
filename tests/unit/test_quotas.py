import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devtools.waiting import wait_for
from tasks.errors import StoreUnavailableError
from tasks.quotas import CapacityLimit, RateLimit
from tasks.stores.sqlite import SQLiteStore
from tests.examples import insert, make_task

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NONE = timedelta(0)


class ClockedStore(SQLiteStore):
    """A store whose time a test sets."""

    time = datetime(2024, 5, 1, 12, 0, 20, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClockedStore]:
    opened = ClockedStore(tmp_path / "tasks.sqlite3")
    yield opened
    opened.close()


def test_hits_over_the_limit_wait_for_the_next_windows(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 2, MINUTE)
    in_40, in_100 = 40 * SECOND, 100 * SECOND
    assert limit.hit(["key"]) == [NONE]
    assert limit.hit(["key"] * 5) == [NONE, in_40, in_40, in_100, in_100]


def test_each_key_and_each_limit_counts_for_itself(store: ClockedStore) -> None:
    limit, other = RateLimit(store, "name", 1, MINUTE), RateLimit(store, "other", 1, MINUTE)
    assert limit.hit(["a", "b", "a"]) == [NONE, NONE, 40 * SECOND]
    assert other.hit(["a"]) == [NONE]


def test_the_next_window_begins_anew(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 1, MINUTE)
    store.time += limit.hit(["key", "key"])[1]
    assert limit.hit(["key", "key"]) == [NONE, MINUTE]


def test_a_wider_key_has_a_wider_limit(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 2, MINUTE, widening=3)
    in_40, in_100 = 40 * SECOND, 100 * SECOND
    assert limit.hit_nested([("a", "all")] * 3) == [NONE, NONE, in_40]
    assert limit.hit_nested([("b", "all"), ("c", "all")]) == [NONE, NONE]
    assert limit.hit_nested([("d", "all")] * 2 + [("e", "other")]) == [NONE, in_40, NONE]
    assert limit.hit_nested([("f", "all")] * 6)[-1] == in_100


def test_no_limit(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 0, MINUTE)
    assert limit.hit(["key"] * 10) == [NONE] * 10


class CountingStore(ClockedStore):
    """Counts the counts; each takes as long as the test's clock says, or fails."""

    counts = 0
    is_down = False

    def count_unfinished(self, most: int) -> int:
        if self.is_down:
            raise StoreUnavailableError
        self.counts += 1
        return super().count_unfinished(most)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[CountingStore]:
    opened = CountingStore(tmp_path / "counted.sqlite3")
    yield opened
    opened.close()


def test_ceiling(store: ClockedStore) -> None:
    ceiling = CapacityLimit(store, 2)
    assert ceiling.remaining() == 2
    ceiling.record_inserts(1)
    assert ceiling.remaining() == 1
    ceiling.record_inserts(2)
    assert ceiling.remaining() == 0


def test_ceiling_counts_again_after_a_while(counting: CountingStore) -> None:
    ceiling = CapacityLimit(counting, 1)
    assert ceiling.remaining() == 1
    insert(counting, make_task())
    assert ceiling.remaining() == 1, "the last count is still good"
    assert counting.counts == 1
    ceiling._recount_at = 0
    wait_for(lambda: ceiling.remaining() == 0)


def test_ceiling_waits_longer_for_counts_that_take_long(
    counting: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([100.0, 103.0, 103.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    ceiling = CapacityLimit(counting, 1)
    ceiling.remaining()
    assert ceiling._recount_at == 163.0


def test_ceiling_goes_on_with_the_old_count_in_an_outage(counting: CountingStore) -> None:
    ceiling = CapacityLimit(counting, 5)
    counting.is_down = True
    with pytest.raises(StoreUnavailableError):
        ceiling.remaining()
    counting.is_down = False
    assert ceiling.remaining() == 5
    counting.is_down = True
    ceiling._recount_at = 0
    assert ceiling.remaining() == 5
    wait_for(lambda: ceiling._recount_at < math.inf)
    assert ceiling.remaining() == 5
