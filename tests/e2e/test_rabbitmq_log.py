"""What RabbitMQ has to say about our connections while there is nothing to do."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]

HEARTBEAT_SECONDS = 8  # RabbitMQ closes a connection that is silent for about two of them
WORKERS = 2


def test_there_is_no_connection_that_only_idles(
    distributed: System, rabbitmq: RabbitMQ, serve: Serve
) -> None:
    distributed.environ["RABBITMQ_URL"] = f"{rabbitmq.url}?heartbeat={HEARTBEAT_SECONDS}"
    before = len(rabbitmq.process.output)
    origin = serve({"/file": b"x"})
    distributed.start_workers(processes=WORKERS)
    service = distributed.start_service()
    task_id = service.submit(f"{origin.base}/file", email="user@example.com")
    assert service.wait_for_end(task_id).status_code == HTTPStatus.OK

    # Each process has one that publishes.
    wait_for(lambda: count_connections(rabbitmq) == count_consumers(rabbitmq) + WORKERS + 1)

    assert "missed heartbeats" not in rabbitmq.process.output[before:]
    distributed.kill()


def count_connections(rabbitmq: RabbitMQ) -> int:
    return len(re.findall("running", rabbitmq.control("list_connections", "state")))


def count_consumers(rabbitmq: RabbitMQ) -> int:
    channels = rabbitmq.control("list_consumers", "channel_pid", "--no-table-headers").split()
    return len(set(channels))
