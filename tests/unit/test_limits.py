from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tasks import limits
from tasks.errors import StoreUnavailableError
from tasks.limits import Ceiling, RateLimit
from tasks.sqlite import SQLiteStore
from tests.examples import make_task
from tests.waiting import wait_for

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
    assert [limit.hit("key") for _ in range(6)] == [NONE, NONE, in_40, in_40, in_100, in_100]


def test_each_key_and_each_limit_counts_for_itself(store: ClockedStore) -> None:
    limit, other = RateLimit(store, "name", 1, MINUTE), RateLimit(store, "other", 1, MINUTE)
    assert [limit.hit("a"), limit.hit("b"), other.hit("a")] == [NONE, NONE, NONE]
    assert limit.hit("a")


def test_the_next_window_begins_anew(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 1, MINUTE)
    limit.hit("key")
    store.time += limit.hit("key")
    assert limit.hit("key") == NONE
    assert limit.hit("key") == MINUTE


def test_no_limit(store: ClockedStore) -> None:
    limit = RateLimit(store, "name", 0, MINUTE)
    assert {limit.hit("key") for _ in range(10)} == {NONE}


def test_ceiling(store: ClockedStore) -> None:
    ceiling = Ceiling(store, 2)
    assert not ceiling.is_reached()
    ceiling.note_insert()
    assert not ceiling.is_reached()
    ceiling.note_insert()
    assert ceiling.is_reached()


def test_ceiling_counts_what_others_insert(
    store: ClockedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceiling = Ceiling(store, 1)
    assert not ceiling.is_reached()
    store.insert(make_task())
    assert not ceiling.is_reached(), "the last count is still good"
    monkeypatch.setattr(limits, "COUNT_SECONDS", 0)
    ceiling._recount_at = 1e-9
    wait_for(ceiling.is_reached)


def test_ceiling_outlasts_an_outage(store: ClockedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COUNT_SECONDS", 0)
    ceiling = Ceiling(store, 1)
    with monkeypatch.context() as outage:
        outage.setattr(store, "survey", MagicMock(side_effect=StoreUnavailableError))
        assert not ceiling.is_reached()
    store.insert(make_task())
    wait_for(ceiling.is_reached)
