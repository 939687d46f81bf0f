"""The fixtures that tests share."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from tests.servers.inbox import Inbox
from tests.servers.mongod import Mongod
from tests.servers.origin import Origin
from tests.servers.process import MissingServerError
from tests.servers.rabbitmq import RabbitMQ

logging.getLogger("pika").setLevel(logging.CRITICAL)

# For `make fuzz`; the usual profile has 100 examples.
hypothesis.settings.register_profile("minutes", max_examples=2000)

Server = TypeVar("Server")

REQUIRE_SERVICES = os.environ.get("REQUIRE_SERVICES") == "1"


def start_server(server: Callable[[Path], Server], folder: Path) -> Server:
    """A server; without its program the tests skip on a laptop and fail in CI."""
    try:
        return server(folder)
    except MissingServerError as error:
        if REQUIRE_SERVICES:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    server = start_server(Mongod, tmp_path_factory.mktemp("mongod"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = start_server(RabbitMQ, tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    yield server
    server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, bytes]], Origin]]:
    """Makes an origin of the files given by path."""
    origins: list[Origin] = []

    def make(files: Mapping[str, bytes]) -> Origin:
        origins.append(Origin(files))
        return origins[-1]

    yield make
    for origin in origins:
        origin.stop()
