"""The fixtures that tests share, and the rule for programs that are missing."""

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager

import hypothesis
import pytest

from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.process import MissingProgramError, find_program
from devtools.servers.rabbitmq import RabbitMQ

logging.getLogger("pika").setLevel(logging.CRITICAL)

# Examples may take as long as a busy machine needs.
hypothesis.settings.register_profile(
    "default", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("default")
hypothesis.settings.register_profile("minutes", max_examples=2000)  # for `make fuzz`

REQUIRE_SERVICES = os.environ.get("REQUIRE_SERVICES") == "1"


@contextmanager
def _skipping_without_a_program() -> Iterator[None]:
    """Skip a test whose program is missing on a laptop, and fail it in CI."""
    try:
        yield
    except MissingProgramError as error:
        if REQUIRE_SERVICES:
            raise
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """Apply the rule to fixtures."""
    with _skipping_without_a_program():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Apply the rule to the tests themselves."""
    with _skipping_without_a_program():
        yield


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def curl() -> str:
    """Return the path of curl."""
    return find_program("curl")


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
