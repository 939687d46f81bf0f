"""Deployments of the running system."""

import shutil
import subprocess
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.rabbitmq import RabbitMQ

pytest.register_assert_rewrite("tests.e2e.ledger")

SHOWN_CHARACTERS = 4000  # of the output of each process, in the report of a failure


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show in the report of a failure what the processes of the test have said."""
    report = yield
    if report.failed:
        systems = (each for each in item.funcargs.values() if isinstance(each, System))
        for process in (each for system in systems for each in system.processes):
            output = process.output[-SHOWN_CHARACTERS:]
            report.sections.append((f"Output of {process.log.parent.name}", output))
    return report


@pytest.fixture(scope="module")
def open_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An embedded deployment for all tests of a module. It refuses private addresses."""
    system = System(tmp_path_factory.mktemp("open"), {"ALLOW_NETWORKS": ""})
    yield system
    system.stop()


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A MongoDB of a test module's own, which has a primary to lose."""
    server = Mongod(tmp_path_factory.mktemp("mongod"), is_replica_set=True)
    yield server
    server.stop()


@pytest.fixture
def embedded(tmp_path: Path, inbox: Inbox) -> Iterator[System]:
    system = System(tmp_path, {"SMTP_URL": inbox.url, "WORKER_THREADS": "10"})
    yield system
    system.close()


@pytest.fixture
def distributed(
    tmp_path: Path, inbox: Inbox, rabbitmq: RabbitMQ, mongod: Mongod
) -> Iterator[System]:
    rabbitmq.purge()
    system = System(
        tmp_path,
        {
            "SMTP_URL": inbox.url,
            "RABBITMQ_URL": f"{rabbitmq.url}?heartbeat=4",  # a frozen worker is noticed soon
            "MONGODB_URL": mongod.database_url(f"test_{uuid.uuid4().hex}"),
        },
        rabbitmq,
    )
    yield system
    system.close()


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.services)])
def system(request: pytest.FixtureRequest) -> System:
    """Each deployment in turn."""
    deployment = request.getfixturevalue(request.param)
    assert isinstance(deployment, System)
    return deployment


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of 8 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
