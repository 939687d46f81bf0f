"""The fixtures that unit tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.stores.sqlite import SQLiteStore
from tests.fakes import RecordingBroker
from worker.broker import broker_availability
from worker.publisher import Dispatcher


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(tmp_path / "tasks.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def dispatcher(broker: RecordingBroker, store: SQLiteStore) -> Iterator[Dispatcher]:
    started = Dispatcher(broker, store, broker_availability())
    started.start()
    yield started
    started.stop()
    assert not started._thread.is_alive()
