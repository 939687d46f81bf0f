"""A real Prometheus finds data for every rule and every panel."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest

from devtools.rules import read_queries, read_rules, selectors_of
from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.process import free_port
from devtools.servers.prometheus import Prometheus
from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.batches import submit_list, wait_for_batch

BODY = b"to be hashed" * 1000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({"/file": BODY}) as origin:
        yield origin


@pytest.fixture
def open_prometheus(tmp_path: Path) -> Iterator[Callable[[dict[str, list[int]]], Prometheus]]:
    servers: list[Prometheus] = []

    def start(jobs: dict[str, list[int]]) -> Prometheus:
        servers.append(Prometheus(tmp_path / "prometheus", jobs))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def start(system: System, jobs: dict[str, list[int]]) -> Service:
    """Start the system, and add its metrics ports to the jobs."""
    system.environ |= {"MAX_ATTEMPTS": "2", "RETRY_BASE": "1ms"}
    if system.is_distributed:
        jobs["worker"] = [free_port()]
        system.start_workers(METRICS_PORT=str(jobs["worker"][0]))
    jobs["service"] = [free_port()]
    return system.start_service(METRICS_PORT=str(jobs["service"][0]))


def use(service: Service, origin: Origin) -> None:
    """Let everything happen that a panel shows."""
    assert service.try_to_submit("ftp://example.com/").status_code == HTTPStatus.BAD_REQUEST
    tasks = [
        service.submit(f"{origin.base}/file", email="a@example.com"),
        service.submit(f"http://127.0.0.1:{free_port()}/"),
    ]
    for task in tasks:
        service.wait_for_end(task)
    wait_for_batch(service, submit_list(service, [f"{origin.base}/file"]))


def panels_without_data(prometheus: Prometheus) -> list[str]:
    return [
        panel
        for panel, query in read_queries().items()
        for values in [prometheus.query(query.replace("$__rate_interval", "1h"))]
        if all(math.isnan(value) for value in values)
    ]


def test_every_expression_finds_data(
    system: System, origin: Origin, open_prometheus: Callable[[dict[str, list[int]]], Prometheus]
) -> None:
    jobs: dict[str, list[int]] = {}
    service = start(system, jobs)
    prometheus = open_prometheus(jobs)
    # Rates begin at the first scrapes of the counters.
    for metric in (
        "md5_light_store_up",
        "md5_light_tasks_ended_total",
        "md5_light_disk_size_bytes",
    ):
        wait_for(lambda metric=metric: prometheus.query(metric))  # type: ignore[misc]
    wait_for(lambda: prometheus.query("sum(up)") == [len(jobs)])
    use(service, origin)

    for selector in {each for rule in read_rules() for each in selectors_of(rule.expr)}:
        try:
            wait_for(lambda each=selector: prometheus.query(each))  # type: ignore[misc]
        except AssertionError:
            raise AssertionError(f"no data: {selector}") from None
    without_data: list[str] = []

    def have_data() -> bool:
        without_data[:] = panels_without_data(prometheus)
        return not without_data

    with suppress(AssertionError):  # the list says more than that it took too long
        wait_for(have_data)
    assert without_data == []
    wait_for(lambda: {rule["state"] for rule in prometheus.rules().values()} == {"inactive"})
    assert {rule["health"] for rule in prometheus.rules().values()} == {"ok"}
    assert prometheus.rules().keys() == {rule.alert for rule in read_rules()}

    service.kill()
    wait_for(lambda: prometheus.rules()["MD5LightServiceGone"]["state"] == "pending")
