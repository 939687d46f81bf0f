"""`python -m worker.health` finds workers that hang, and is patient with servers."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from devtools.servers.deployment import System
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.process import PROJECT, coverage_variables
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from tests.faults import mongodb
from tests.faults import rabbitmq as broker

Serve = Callable[[Mapping[str, bytes]], Origin]

pytestmark = pytest.mark.services

PATIENT, IMPATIENT = "600", "8"  # seconds; a loop goes round within five
ROUNDS = 2  # of each loop, in an outage
SHORTER = "80"  # seconds, well below the limit of an outage


class Health:
    """Runs the command in the place of the workers."""

    def __init__(self, system: System, folder: Path) -> None:
        system.environ["TMPDIR"] = str(folder)
        self.folder = folder

    def problems(self, seconds: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "worker.health", *([] if seconds is None else [seconds])],
            cwd=PROJECT,
            env={**coverage_variables(), "TMPDIR": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        assert (done.returncode == 0) == (done.stderr == ""), done.stderr
        return done.stderr


@pytest.fixture
def health(distributed: System, tmp_path: Path) -> Health:
    """The workers have a /tmp of their own, as in a container."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return Health(distributed, folder)


def test_no_worker_runs(distributed: System, health: Health) -> None:
    assert health.problems() == "no worker runs here\n"
    workers = distributed.start_workers()
    assert health.problems() == ""
    workers.kill()
    assert health.problems() == "no worker runs here\n"


def test_a_frozen_process_of_several(distributed: System, health: Health) -> None:
    workers = distributed.start_workers(processes=3, threads=2)
    assert health.problems() == ""
    for pid in workers.children:
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda pid=pid: f"process {pid} does not run" in health.problems(PATIENT))  # type: ignore[misc]
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: health.problems(PATIENT) == "")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_main_process_is_gone_or_frozen(
    distributed: System, health: Health, number: signal.Signals
) -> None:
    workers = distributed.start_workers(processes=2, threads=2)
    workers.send(number)
    expected = f"the main process {workers.pid} does not run\n"
    wait_for(lambda: health.problems(PATIENT) == expected)


@pytest.mark.parametrize(
    ("hang", "problem"),
    [
        ("process", "sweeper has not gone round"),
        ("sweeper", "sweeper has not gone round"),
        ("dispatcher", "dispatcher has not gone round"),
        ("leases", "leases has not gone round"),
        ("consumer of compute_md5", "consumer of compute_md5 has not gone round"),
    ],
)
def test_a_loop_that_hangs(
    distributed: System, health: Health, tmp_path: Path, hang: str, problem: str
) -> None:
    flag = tmp_path / "hang"
    distributed.start_workers(
        processes=2, module="tests.programs.hanging", HANG=hang, HANG_FLAG=str(flag)
    )
    wait_for(lambda: health.problems(IMPATIENT) == "")
    flag.touch()
    wait_for(lambda: problem in health.problems(IMPATIENT))


def rounds_seen(folder: Path, seen: dict[str, set[int]]) -> int:
    """How often each loop has gone round at least, as far as has been seen."""
    for file in folder.glob("*/heartbeat_*"):
        seen.setdefault(file.name, set()).add(file.stat().st_mtime_ns)
    return min(map(len, seen.values()))


@pytest.fixture(params=["down", "frozen"])
def outage(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQ, mongod: Mongod
) -> Callable[[], AbstractContextManager[None]]:
    """Takes both servers away for a while."""

    @contextmanager
    def begin() -> Iterator[None]:
        is_frozen = request.param == "frozen"
        with (
            (broker.frozen if is_frozen else broker.down)(rabbitmq),
            (mongodb.frozen if is_frozen else mongodb.killed)(mongod),
        ):
            yield

    return begin


def test_an_outage_of_the_servers_stops_no_loop(
    distributed: System,
    health: Health,
    serve: Serve,
    outage: Callable[[], AbstractContextManager[None]],
) -> None:
    origin = serve({"/file": b"x" * 100_000})
    origin.may_finish.clear()  # so that there are leases to renew
    service = distributed.start_service()
    distributed.start_workers(processes=2, threads=2)
    for _ in range(4):
        service.submit(f"{origin.base}/file")
    wait_for(lambda: len(origin.requests) == 4)
    seen: dict[str, set[int]] = {}
    again: dict[str, set[int]] = {}
    with outage():
        wait_for(lambda: rounds_seen(health.folder, seen) > ROUNDS)
        assert health.problems(SHORTER) == ""
        origin.may_finish.set()  # the results wait for the store, and so do their claims
        wait_for(lambda: rounds_seen(health.folder, again) > ROUNDS)
        assert health.problems(SHORTER) == ""


def test_it_imports_little() -> None:
    """Docker runs it every few seconds."""
    command = "import sys, worker.health; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", command], cwd=PROJECT, text=True)
    assert not {"dramatiq", "pymongo", "pika", "settings", "requests"} & set(imported.split())
