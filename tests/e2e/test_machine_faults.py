"""The machine lets us down: wrong clocks, no file descriptors, no disk space."""

import os
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.process import Process, free_port
from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.ledger import assert_done_and_mailed, make_due, wait_for_first_mailing
from tests.faults.disk import full

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {f"/file{number}": bytes([number]) * 100_000 for number in range(10)}
OUTAGE_SECONDS = 5.0  # longer than the LEASE of the tests, and a sweep more
HOUR = 3600
STEADY_LOOKS = 10  # which take about a second


def submit_all(service: Service, origin: Origin) -> dict[str, bytes]:
    """The file of each task by its id."""
    return {
        service.submit(f"{origin.base}{path}", email="a@example.com"): body
        for path, body in FILES.items()
    }


def begin_all(service: Service, serve: Serve) -> tuple[Origin, dict[str, bytes]]:
    """Ten downloads, each halfway through; the origin holds the other halves back."""
    origin = serve(FILES)
    origin.may_finish.clear()
    bodies = submit_all(service, origin)
    wait_for(lambda: len(origin.requests) == len(FILES))
    return origin, bodies


def live_through(session: requests.Session, service: Service, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        response = session.get(f"{service.base}/health/live", timeout=4)  # shorter than the outages
        assert response.status_code == HTTPStatus.OK


@pytest.mark.services
@pytest.mark.parametrize(("skew", "dying"), [(HOUR, "wrong"), (-HOUR, "right")])
def test_a_worker_whose_clock_is_an_hour_off(
    distributed: System, serve: Serve, inbox: Inbox, skew: int, dying: str
) -> None:
    """An hour ahead it would steal leases, and make such that nobody sees the end of."""
    workers = {
        "right": distributed.start_workers(threads=5),
        "wrong": distributed.start_workers(
            threads=5, module="tests.programs.skewed", CLOCK_SKEW=str(skew)
        ),
    }
    service = distributed.start_service()
    origin, bodies = begin_all(service, serve)

    live_through(requests.Session(), service, OUTAGE_SECONDS)
    assert len(origin.requests) == len(FILES), "a lease was stolen"

    workers[dying].kill()
    origin.may_finish.set()
    assert_done_and_mailed(distributed.store, bodies, inbox)
    assert len(origin.requests) == len(FILES) + 5
    distributed.kill()  # a polite stop takes seconds


def test_a_clock_set_back_by_hours_delays_no_retry(embedded: System, tmp_path: Path) -> None:
    skew = tmp_path / "skew"
    embedded.environ |= {"CLOCK_SKEW_FILE": str(skew), "RETRY_BASE": "3s", "MAX_ATTEMPTS": "2"}

    def submit_and_wait_for_a_failure() -> str:
        task_id = service.submit(f"http://127.0.0.1:{free_port()}/")
        wait_for(lambda: "retry_at" in service.check(task_id).json())
        return task_id

    def set_clock(seconds: int) -> None:
        """Which no reader sees half-written."""
        skew.with_suffix(".new").write_text(str(seconds))
        skew.with_suffix(".new").replace(skew)

    set_clock(0)
    service = embedded.start_service(module="tests.programs.adjustable")
    task_id = submit_and_wait_for_a_failure()
    set_clock(-HOUR)
    service.wait_for_end(task_id)

    task_id = submit_and_wait_for_a_failure()
    service.kill()
    set_clock(-2 * HOUR)
    service = embedded.start_service(module="tests.programs.adjustable")
    service.wait_for_end(task_id)


@contextmanager
def exhausted(processes: list[Process]) -> Iterator[None]:
    """The processes of these groups may open no more files than they have open."""
    limits = {}
    for pid, used in steady_descriptors(processes).items():
        limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[pid][1]))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def steady_descriptors(processes: list[Process]) -> dict[int, int]:
    """Return the number of descriptors of each process, once no more of them are closed.

    A worker that has just started closes the connections on which it has declared its queues.
    """
    groups = {process.pid for process in processes}
    looks: list[dict[int, int]] = []

    def is_steady() -> bool:
        pids = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
        ours = [pid for pid in pids if group_of(pid) in groups]
        looks.append({pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in ours})
        return len(looks) > STEADY_LOOKS and all(
            each == looks[-1] for each in looks[-STEADY_LOOKS:]
        )

    wait_for(is_steady)
    return looks[-1]


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_no_file_descriptor_is_left(system: System, serve: Serve, inbox: Inbox) -> None:
    service = system.start()
    origin, bodies = begin_all(service, serve)
    with requests.Session() as session:
        session.get(f"{service.base}/health/live", timeout=5)  # opens the connection
        with exhausted(system.processes):
            origin.may_finish.set()
            live_through(session, service, OUTAGE_SECONDS)
            assert len(inbox.mails) < len(FILES)
            answer = session.post(
                f"{service.base}/submit",
                data={"url": f"{origin.base}/file0", "email": "a@example.com"},
                timeout=10,
            )
            assert answer.status_code in {HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE}
    if answer.ok:
        bodies[answer.json()["id"]] = FILES["/file0"]
    store = system.store
    store.wake_unclaimed(store.now())  # or one whose message did not get out waits for 30 s
    for task_id in bodies:
        make_due(store, wait_for_first_mailing(store, task_id))
    assert_done_and_mailed(system.store, bodies, inbox)
    assert all(process.is_running for process in system.processes)
    system.kill()  # a polite stop takes seconds


def test_no_space_is_left_for_the_tasks(small_disk: Path, serve: Serve, inbox: Inbox) -> None:
    system = System(small_disk.parent, {"DATA_DIR": str(small_disk), "SMTP_URL": inbox.url})
    try:
        service = system.start_service(WORKER_THREADS="10")
        origin, bodies = begin_all(service, serve)
        url = f"{origin.base}/file0"

        with full(small_disk):
            # What is left of the last block may do for one or two.
            while (answer := service.try_to_submit(url, email="a@example.com")).ok:
                bodies[answer.json()["id"]] = FILES["/file0"]
            assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert answer.headers["Retry-After"] == "5"
            origin.may_finish.set()
            live_through(requests.Session(), service, OUTAGE_SECONDS)

        assert_done_and_mailed(system.store, bodies, inbox)
        assert len(origin.requests) == len(bodies), "something was downloaded again"
    finally:
        system.close()
    with closing(sqlite3.connect(small_disk / "tasks.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_space_is_left_for_the_mails(small_disk: Path, tmp_path: Path, serve: Serve) -> None:
    system = System(tmp_path, {})
    (tmp_path / "data").mkdir()
    mails = tmp_path / "data" / "mail"
    mails.symlink_to(small_disk)
    origin = serve(FILES)
    try:
        service = system.start_service()
        store = system.store
        with full(small_disk):
            bodies = submit_all(service, origin)
            for task_id in bodies:
                assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
            tasks = [wait_for_first_mailing(store, task_id) for task_id in bodies]
            assert not list(mails.glob("*.eml"))
        for task in tasks:
            make_due(store, task)
        wait_for(lambda: {path.name for path in mails.iterdir()} == {f"{i}.eml" for i in bodies})
        assert all(path.stat().st_size for path in mails.iterdir())
    finally:
        system.close()
