"""A server that refuses access is named, with the setting to check."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devtools.servers.mongod import Mongod
from devtools.servers.rabbitmq import RabbitMQ
from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.stores.mongodb import MongoStore
from tests.examples import NOW, insert, make_task
from worker.broker import broker_availability, make_broker, ping, report_failure

pytestmark = pytest.mark.services

PASSWORD = "s3cret-of-the-tests"
# RabbitMQ 4.3 also names the permission, for example "configure access to queue".
QUEUE_REFUSED = r"403 ACCESS_REFUSED - (\w+ )?access to queue"
EXCHANGE_REFUSED = r"403 ACCESS_REFUSED - (\w+ )?access to exchange"


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


def with_password(url: str) -> str:
    return url.replace("guest:guest", f"guest:{PASSWORD}")


def without_vhost(url: str) -> str:
    return urlsplit(url)._replace(path="/missing").geturl()


@pytest.fixture
def restricted(rabbitmq: RabbitMQ) -> Iterator[Callable[..., str]]:
    """Makes the URL of a user with these permissions: configure, write, read."""
    rabbitmq.control("add_vhost", "restricted")
    rabbitmq.control("add_user", "restricted", PASSWORD)

    def make(*permissions: str) -> str:
        if permissions:
            rabbitmq.control("set_permissions", "-p", "restricted", "restricted", *permissions)
        netloc = f"restricted:{PASSWORD}@{urlsplit(rabbitmq.url).netloc.partition('@')[2]}"
        return urlsplit(rabbitmq.url)._replace(netloc=netloc, path="/restricted").geturl()

    yield make
    rabbitmq.control("delete_user", "restricted")
    rabbitmq.control("delete_vhost", "restricted")


def assert_refused(url: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    availability = broker_availability()
    broker = make_broker(Settings(rabbitmq_url=url), availability)
    with pytest.raises(Exception, match=r".") as caught:  # pika raises what is no AMQPError
        ping(broker)
    report_failure(availability, caught.value)
    broker.close()
    (line,) = errors(caplog)
    assert re.match(f"the broker refuses access: {reason}", line)
    assert "RABBITMQ_URL" in line
    assert "with Docker Compose: RABBITMQ_PASSWORD; see Passwords in docs/operations.md" in line
    assert PASSWORD not in line


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (with_password, "403 ACCESS_REFUSED - Login was refused"),
        (without_vhost, "530 NOT_ALLOWED - vhost missing not found"),
    ],
    ids=["password", "vhost"],
)
def test_rabbitmq_that_does_not_let_us_in(
    spoil: Callable[[str], str], reason: str, rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    assert_refused(spoil(rabbitmq.url), reason, caplog)


@pytest.mark.parametrize(
    ("permissions", "reason"),
    [
        ((), "530 NOT_ALLOWED - access to vhost 'restricted' refused"),
        (("", ".*", ".*"), QUEUE_REFUSED),
        ((".*", "", ".*"), EXCHANGE_REFUSED),
        ((".*", ".*", ""), QUEUE_REFUSED),
        ((".*", "compute_md5.*|send_email.*", ".*"), EXCHANGE_REFUSED),
    ],
    ids=["vhost", "configure", "write", "read", "publish"],
)
def test_rabbitmq_that_denies_a_permission(
    permissions: tuple[str, ...],
    reason: str,
    restricted: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert_refused(restricted(*permissions), reason, caplog)


def test_rabbitmq_that_is_out_of_reach_is_no_refusal(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    availability = broker_availability()
    broker = make_broker(
        Settings(rabbitmq_url=rabbitmq.url.replace("amqp:", "amqps:")), availability
    )
    with pytest.raises(OSError, match="SSL") as caught:
        ping(broker)
    report_failure(availability, caught.value)
    assert errors(caplog) == []


def test_a_ping_leaves_no_message(rabbitmq: RabbitMQ) -> None:
    rabbitmq.purge()
    broker = make_broker(Settings(rabbitmq_url=rabbitmq.url), broker_availability())
    for _ in range(3):
        ping(broker)
    broker.close()
    assert rabbitmq.waiting() == {}


@pytest.fixture
def locked_mongod(tmp_path: Path) -> Iterator[Mongod]:
    server = Mongod(tmp_path)
    roles = [{"role": "readWrite", "db": "test"}]
    durable = {"w": 1, "j": True}
    server.command("createUser", "md5", pwd=PASSWORD, roles=roles, writeConcern=durable)
    server.stop()
    server = Mongod(tmp_path, needs_login=True)
    yield server
    server.stop()


def test_mongodb_with_users(locked_mongod: Mongod, caplog: pytest.LogCaptureFixture) -> None:
    url = locked_mongod.database_url("test")

    def open_as(user: str, options: str = "?authSource=admin") -> MongoStore:
        return MongoStore.connect(url.replace("://", f"://{user}") + options)

    store = open_as(f"md5:{PASSWORD}@")
    task = make_task()
    insert(store, task)
    assert store.take_due(NOW, NOW, 10) == []
    store.ping()
    store.close()
    assert errors(caplog) == []

    for user, options, reason in (
        ("md5:wrong@", "?authSource=admin", "AuthenticationFailed"),
        (f"md5:{PASSWORD}@", "", "AuthenticationFailed"),
        ("", "", "Unauthorized"),
    ):
        caplog.clear()
        store = open_as(user, options)
        with pytest.raises(StoreUnavailableError):
            store.ping()
        store.close()
        (line,) = errors(caplog)
        assert line.startswith(f"MongoDB refuses access: OperationFailure {reason}.")
        assert "MONGODB_URL" in line
        assert "with Docker Compose: MONGODB_PASSWORD; see Passwords in docs/operations.md" in line
        assert PASSWORD not in line
