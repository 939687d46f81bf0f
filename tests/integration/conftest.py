"""The stores that integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.servers.mongod import Mongod
from tasks.stores.contract import TaskStore
from tasks.stores.mongodb import MongoStore
from tasks.stores.sqlite import SQLiteStore
from tests.integration.stores import Connect, Open, mongod_url, open_closing, open_mongomock


@pytest.fixture(params=["sqlite", pytest.param("mongod", marks=pytest.mark.services)])
def open_shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more store on the same tasks, as another process would."""
    if request.param == "sqlite":
        yield from open_closing(lambda: SQLiteStore(tmp_path / "tasks.sqlite3"))
    else:
        url = mongod_url(request.getfixturevalue("mongod"))
        yield from open_closing(lambda: MongoStore.connect(url))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes stores of URLs."""
    connected: list[MongoStore] = []

    def make(url: str) -> MongoStore:
        connected.append(MongoStore.connect(url))
        return connected[-1]

    yield make
    for store in connected:
        store.close()


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """One that a test may kill."""
    server = Mongod(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "mongomock", pytest.param("mongod", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskStore]:
    if request.param == "sqlite":
        opened: TaskStore = SQLiteStore(tmp_path / "tasks.sqlite3")
    elif request.param == "mongomock":
        opened = open_mongomock()
    else:
        opened = MongoStore.connect(mongod_url(request.getfixturevalue("mongod")))
    yield opened
    opened.close()
