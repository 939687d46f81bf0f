"""What the processes count is reported as one."""

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.process import Process, free_port
from devtools.waiting import wait_for
from service.metrics import REFUSALS
from tasks.failure import FailureCode
from telemetry import exporter
from tests.e2e.batches import submit_list, wait_for_batch
from tests.e2e.ledger import wait_until_settled
from tests.e2e.scraping import scrape, scrape_store
from tests.faults.mongodb import frozen

BODY = b"to be hashed" * 1000
TASKS = 20


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({"/file": BODY}) as origin:
        yield origin


@pytest.mark.services
def test_several_processes_count_as_one(distributed: System, origin: Origin) -> None:
    port = free_port()
    workers = distributed.start_workers(processes=2, threads=2, METRICS_PORT=str(port))
    service = distributed.start_service(WEB_WORKERS="2")
    tasks = [
        service.submit(f"{origin.base}/file", email=f"a{number}@example.com")
        for number in range(TASKS)
    ]
    for task_id in tasks:
        wait_until_settled(distributed.store, task_id)
    base = f"http://127.0.0.1:{port}"

    wait_for(lambda: scrape(base)['md5_light_mails_total{outcome="sent"}'] == TASKS)
    told = scrape(base)
    assert told['md5_light_tasks_ended_total{code="",status="done"}'] == TASKS
    assert told["md5_light_queue_wait_seconds_count"] == TASKS
    assert 0 < told["md5_light_queue_wait_seconds_sum"] < TASKS * 60
    assert told["md5_light_download_seconds_count"] == TASKS
    assert told["md5_light_download_bytes_total"] == TASKS * len(BODY)
    submits = 'md5_light_http_request_seconds_count{route="/submit",status="2xx"}'
    for _ in range(10):  # whichever process answers
        assert scrape(service.base)[submits] == TASKS
    for child in workers.children:
        done = [line for line in workers.output.splitlines() if f"[PID {child}]" in line]
        assert any("compute_md5: done" in line for line in done), "one process has done it all"


# Of each series that an alert may ask for; what follows the name are its label's values.
OUTCOMES = ("sent", "refused", "retried", "delayed")
ZEROES = {
    *(f'md5_light_retries_total{{code="{code}"}}' for code in FailureCode),
    *(f'md5_light_tasks_ended_total{{code="{code}",status="failed"}}' for code in FailureCode),
    'md5_light_tasks_ended_total{code="",status="done"}',
    *(f'md5_light_mails_total{{outcome="{outcome}"}}' for outcome in OUTCOMES),
    *(f'md5_light_sweeper_repairs_total{{kind="{kind}"}}' for kind in ("message", "lease")),
    "md5_light_claims_lost_total",
    "md5_light_tasks_trimmed_total",
    "md5_light_download_bytes_total",
    "md5_light_download_seconds_count",
    "md5_light_queue_wait_seconds_count",
}


def test_a_fresh_service_has_every_series(embedded: System) -> None:
    service = embedded.start_service()
    wait_for(lambda: scrape(service.base)["md5_light_broker_up"] == 1)
    samples = scrape(service.base)
    requests_ = {
        f'md5_light_http_request_seconds_count{{route="{route}",status="{status}"}}'
        for route in ("/submit", "/check", "/health/ready", "/", "none")
        for status in ("2xx", "4xx", "5xx")
    }
    refused = {f'md5_light_submissions_refused_total{{reason="{code}"}}' for code in REFUSALS}
    states = {
        f'{name}{{state="{state}"}}'
        for name in ("md5_light_tasks", "md5_light_oldest_task_age_seconds")
        for state in ("queued", "running", "mailing")
    }
    others = {
        "md5_light_tasks_overdue",
        "md5_light_connections_refused_total",
        "md5_light_batch_idle_seconds",
        "md5_light_tasks_stored",
    }
    zeroes = ZEROES | requests_ | refused | states | others
    assert {name: samples.get(name) for name in zeroes} == dict.fromkeys(zeroes, 0)
    assert samples["md5_light_store_up"] == 1
    assert samples["md5_light_tasks_stored_max"] == 10_000_000
    assert samples["md5_light_download_threads"] == 10
    disk = shutil.disk_usage(embedded.environ["DATA_DIR"])
    assert samples["md5_light_disk_size_bytes"] == disk.total
    assert 0 < samples["md5_light_disk_free_bytes"] < disk.total


@pytest.mark.services
def test_a_fresh_worker_has_every_series(distributed: System) -> None:
    base = f"http://127.0.0.1:{(port := free_port())}"
    distributed.start_workers(processes=2, METRICS_PORT=str(port))
    wait_for(lambda: scrape(base)["md5_light_broker_up"] == 1)
    samples = scrape(base)
    assert {name: samples.get(name) for name in ZEROES} == dict.fromkeys(ZEROES, 0)
    assert not any("http_request" in name or "refused_total" in name for name in samples)


@pytest.mark.services
def test_threads_count_where_downloads_run(distributed: System) -> None:
    base = f"http://127.0.0.1:{(port := free_port())}"
    service = distributed.start_service()
    assert scrape(service.base)["md5_light_download_threads"] == 0
    workers = distributed.start_workers(processes=2, threads=3, METRICS_PORT=str(port))
    wait_for(lambda: scrape(base)["md5_light_download_threads"] == 6)
    assert scrape(service.base)["md5_light_download_threads"] == 0
    wait_for(lambda: scrape(service.base).get("md5_light_disk_size_bytes"))
    workers.stop()


def test_age_and_idleness_end_with_what_is_old(embedded: System, origin: Origin) -> None:
    origin.may_finish.clear()
    service = embedded.start_service()
    batch = submit_list(service, [f"{origin.base}/file"])
    running = 'md5_light_oldest_task_age_seconds{state="running"}'

    def is_older_than_idle() -> bool:
        samples = scrape_store(service.base)
        return 1 < samples[running] > samples["md5_light_batch_idle_seconds"]

    wait_for(is_older_than_idle)
    origin.may_finish.set()
    wait_for_batch(service, batch)
    wait_for(lambda: scrape_store(service.base)[running] == 0)
    assert scrape_store(service.base)["md5_light_batch_idle_seconds"] == 0


@pytest.mark.services
def test_a_port_that_is_taken_stops_the_workers(distributed: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError):
            distributed.start_workers(METRICS_PORT=str(port))
    output = (distributed._folder / "process0" / "output.log").read_text()
    assert f"METRICS_PORT: cannot listen on 127.0.0.1, port {port}" in output


def test_a_metrics_port_takes_the_metrics_off_the_public_one(
    embedded: System, origin: Origin
) -> None:
    port = free_port()
    service = embedded.start_service(
        METRICS_PORT=str(port), WEB_WORKERS="2", API_TOKENS="a-long-random-token"
    )
    wait_for(lambda: service.output.count("Worker ready") == 2)
    authorization = {"Authorization": "Bearer a-long-random-token"}
    public = requests.get(f"{service.base}/metrics", headers=authorization, timeout=10)
    assert public.status_code == HTTPStatus.NOT_FOUND
    for _ in range(10):  # whichever process answers
        answer = requests.post(
            f"{service.base}/submit",
            data={"url": f"{origin.base}/file"},
            headers=authorization,
            timeout=10,
        )
        assert answer.status_code == HTTPStatus.ACCEPTED

    base = f"http://127.0.0.1:{port}"
    done = 'md5_light_tasks_ended_total{code="",status="done"}'
    wait_for(lambda: scrape(base)[done] == 10)
    samples = scrape_store(base)
    submits = 'md5_light_http_request_seconds_count{route="/submit",status="2xx"}'
    assert samples[submits] == 10
    assert samples["md5_light_store_up"] == samples["md5_light_broker_up"] == 1
    wait_for(lambda: scrape_store(base)['md5_light_tasks{state="queued"}'] == 0)
    service.send(signal.SIGINT)
    assert service.wait() == 0
    assert "Traceback" not in service.output


@pytest.mark.services
def test_a_frozen_store_does_not_hold_up_the_metrics_port(
    distributed: System, tmp_path: Path
) -> None:
    own_mongod = Mongod(tmp_path / "mongod")
    try:
        base = f"http://127.0.0.1:{(port := free_port())}"
        distributed.start_service(
            METRICS_PORT=str(port), MONGODB_URL=own_mongod.database_url("test")
        )
        wait_for(lambda: scrape(base)["md5_light_store_up"] == 1)
        with frozen(own_mongod):
            for _ in range(3):  # within the time that `scrape` gives them
                assert scrape(base)["md5_light_store_up"] == 0
        wait_for(lambda: scrape(base)["md5_light_store_up"] == 1)
    finally:
        own_mongod.stop()


def test_a_silent_client_of_the_metrics_port_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.exporter.CLIENT_SECONDS", 0.1)
    server = exporter.set_up().serve("127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as silent:
            assert silent.recv(1) == b""
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("is_own_port", [True, False])
def test_a_metrics_port_that_cannot_be_had_stops_the_service(
    embedded: System, tmp_path: Path, *, is_own_port: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics_port = str(taken.getsockname()[1])
        port = metrics_port if is_own_port else str(free_port())
        environ = {**embedded.environ, "PORT": port, "METRICS_PORT": metrics_port}
        service = Process([sys.executable, "-m", "service"], tmp_path / "service", environ)
        assert service.wait() != 0
    assert service.output.startswith("METRICS_PORT: ")
    assert "Traceback" not in service.output


def test_service_counts_failures_refusals_and_the_store(embedded: System, origin: Origin) -> None:
    origin.may_finish.clear()
    service = embedded.start_service(MAX_ATTEMPTS="2", RETRY_BASE="1ms")
    assert service.try_to_submit("ftp://example.com/").status_code == HTTPStatus.BAD_REQUEST
    waiting = service.submit(f"{origin.base}/file")
    service.wait_for_end(service.submit(f"http://127.0.0.1:{free_port()}/"))
    service.wait_for_end(service.submit("http://10.0.0.1/"))

    told = scrape_store(service.base)
    assert told['md5_light_tasks_ended_total{code="blocked_address",status="failed"}'] == 1
    assert told['md5_light_tasks_ended_total{code="connect_error",status="failed"}'] == 1
    assert told['md5_light_retries_total{code="connect_error"}'] == 1
    assert told['md5_light_submissions_refused_total{reason="invalid_parameter"}'] == 1
    assert told['md5_light_http_request_seconds_count{route="/submit",status="4xx"}'] == 1
    assert told["md5_light_store_up"] == 1
    assert told['md5_light_tasks{state="running"}'] == 1
    assert told["md5_light_tasks_overdue"] == 0
    assert told['md5_light_oldest_task_age_seconds{state="running"}'] > 0
    assert told['md5_light_oldest_task_age_seconds{state="mailing"}'] == 0
    origin.may_finish.set()
    assert service.wait_for_end(waiting).status_code == HTTPStatus.OK


def test_metrics_need_a_token_where_all_do(embedded: System) -> None:
    token = "a-long-random-token"
    service = embedded.start_service(API_TOKENS=token)
    assert requests.get(f"{service.base}/metrics", timeout=10).status_code == 401
    assert scrape(service.base, Authorization=f"Bearer {token}")


def test_start_removes_the_files_of_killed_processes(embedded: System) -> None:
    folder = embedded._folder / "tmp"
    old = folder / "md5-light-metrics-of-somebody"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    service = embedded.start_service(TMPDIR=str(folder))
    assert not old.exists()
    assert len(list(folder.glob("md5-light-metrics-*"))) == 1
    assert scrape(service.base)  # by now it has its signal handlers
    service.stop()
    assert not list(folder.iterdir())


def test_a_start_repeats_no_message(embedded: System, origin: Origin) -> None:
    """More tasks wait than there are threads when the first sweeps look."""
    origin.may_finish.clear()
    service = embedded.start()
    began = time.monotonic()
    tasks = [service.submit(f"{origin.base}/file") for _ in range(40)]
    wait_for(lambda: time.monotonic() > began + 3)
    origin.may_finish.set()
    for task_id in tasks:
        service.wait_for_end(task_id)
    assert scrape(service.base)['md5_light_sweeper_repairs_total{kind="message"}'] == 0
