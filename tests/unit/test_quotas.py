from datetime import UTC, datetime, timedelta

import pytest

from devtools.waiting import wait_for
from tasks.errors import StoreUnavailableError
from tasks.quotas import COUNT_SECONDS, COUNT_SHARE, CapacityLimit, RateLimit
from tests.examples import insert, make_task
from tests.fakes import FakeClock, ScriptedStore

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NONE = timedelta(0)


@pytest.fixture
def store(store: ScriptedStore) -> ScriptedStore:
    store.time = datetime(2024, 5, 1, 12, 0, 20, tzinfo=UTC)
    return store


def test_hits_over_the_limit_wait_for_the_next_windows(store: ScriptedStore) -> None:
    limit = RateLimit(store, "name", 2, MINUTE)
    in_40, in_100 = 40 * SECOND, 100 * SECOND
    assert limit.hit(["key"]) == [NONE]
    assert limit.hit(["key"] * 5) == [NONE, in_40, in_40, in_100, in_100]


def test_each_key_and_each_limit_counts_for_itself(store: ScriptedStore) -> None:
    limit, other = RateLimit(store, "name", 1, MINUTE), RateLimit(store, "other", 1, MINUTE)
    assert limit.hit(["a", "b", "a"]) == [NONE, NONE, 40 * SECOND]
    assert other.hit(["a"]) == [NONE]


def test_the_next_window_starts_at_zero(store: ScriptedStore) -> None:
    limit = RateLimit(store, "name", 1, MINUTE)
    store.advance(limit.hit(["key", "key"])[1])
    assert limit.hit(["key", "key"]) == [NONE, MINUTE]


def test_a_wider_key_has_a_wider_limit(store: ScriptedStore) -> None:
    limit = RateLimit(store, "name", 2, MINUTE, widening=3)
    in_40, in_100 = 40 * SECOND, 100 * SECOND
    assert limit.hit_nested([("a", "all")] * 3) == [NONE, NONE, in_40]
    assert limit.hit_nested([("b", "all"), ("c", "all")]) == [NONE, NONE]
    assert limit.hit_nested([("d", "all")] * 2 + [("e", "other")]) == [NONE, in_40, NONE]
    assert limit.hit_nested([("f", "all")] * 6)[-1] == in_100


def test_a_limit_of_zero_allows_everything(store: ScriptedStore) -> None:
    limit = RateLimit(store, "name", 0, MINUTE)
    assert limit.hit(["key"] * 10) == [NONE] * 10


def test_capacity_shrinks_with_each_insert(store: ScriptedStore) -> None:
    limit = CapacityLimit(store, 2)
    assert limit.remaining() == 2
    limit.record_inserts(1)
    assert limit.remaining() == 1
    limit.record_inserts(2)
    assert limit.remaining() == 0


def test_capacity_is_counted_again_after_a_while(store: ScriptedStore) -> None:
    clock = FakeClock()
    limit = CapacityLimit(store, 1, clock)
    assert limit.remaining() == 1
    insert(store, make_task())
    assert limit.remaining() == 1, "the last count is still valid"
    assert len(store.calls("count_unfinished")) == 1

    clock.seconds += 2 * COUNT_SECONDS

    wait_for(lambda: limit.remaining() == 0)


def test_a_slow_count_is_valid_for_longer(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()

    def count_slowly(_: int) -> int:
        clock.seconds += 3
        return 0

    monkeypatch.setattr(store, "count_unfinished", count_slowly)
    limit = CapacityLimit(store, 1, clock)
    limit.remaining()
    limit.record_inserts(1)

    clock.seconds += 3 * COUNT_SHARE
    assert limit.remaining() == 0, "no count was due"
    clock.seconds += 1
    wait_for(lambda: limit.remaining() == 1)


def test_the_old_count_is_used_during_an_outage(store: ScriptedStore) -> None:
    clock = FakeClock()
    limit = CapacityLimit(store, 5, clock)
    store.fail("count_unfinished")
    with pytest.raises(StoreUnavailableError):
        limit.remaining()
    assert limit.remaining() == 5

    fault = store.fail("count_unfinished")
    clock.seconds += 2 * COUNT_SECONDS
    assert limit.remaining() == 5
    wait_for(lambda: not fault.times)
    assert limit.remaining() == 5
