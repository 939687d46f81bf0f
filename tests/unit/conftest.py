"""The fixtures of the tests of what publishes messages; each has a `store` of its own."""

from collections.abc import Iterator

import pytest

from tasks.stores.sqlite import SQLiteStore
from tests.fakes import RecordingBroker
from worker.broker import broker_availability
from worker.publisher import Dispatcher


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
