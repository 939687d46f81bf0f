"""The fixtures that unit tests share."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import RecordingBroker, ScriptedStore
from worker.broker import broker_availability
from worker.publisher import Dispatcher


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ScriptedStore]:
    opened = ScriptedStore(tmp_path / "tasks.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


@pytest.fixture
def dispatcher(broker: RecordingBroker, store: ScriptedStore) -> Iterator[Dispatcher]:
    started = Dispatcher(broker, store, broker_availability())
    started.start()
    yield started
    started.stop()
    assert not started._thread.is_alive()
