"""What RabbitMQ has to say about our connections while there is nothing to do."""

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]

HEARTBEAT_SECONDS = 8
HEARTBEATS = 5  # RabbitMQ closes a silent connection after about two


def test_idle_connections_miss_no_heartbeat(
    distributed: System, rabbitmq: RabbitMQ, serve: Serve
) -> None:
    distributed.environ["RABBITMQ_URL"] = f"{rabbitmq.url}?heartbeat={HEARTBEAT_SECONDS}"
    before = len(rabbitmq.process.output)
    origin = serve({"/file": b"x"})
    distributed.start_workers(processes=2)
    service = distributed.start_service()
    task_id = service.submit(f"{origin.base}/file", email="user@example.com")
    assert service.wait_for_end(task_id).status_code == HTTPStatus.OK

    end = time.monotonic() + HEARTBEATS * HEARTBEAT_SECONDS
    wait_for(lambda: time.monotonic() > end)

    assert "missed heartbeats" not in rabbitmq.process.output[before:]
    distributed.kill()
