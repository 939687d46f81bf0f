"""The servers and programs of a run: started when a row first asks for them, stopped at its end."""

import os
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self, TypeVar

import pymongo
from pymongo.collection import Collection

from bench.nginx import Nginx
from devtools.servers.mongod import Mongod
from devtools.servers.process import Process
from devtools.servers.rabbitmq import RabbitMQ
from devtools.servers.system import Service

Tasks = Collection[dict[str, Any]]


class _Server(Protocol):
    def stop(self) -> None: ...


Server = TypeVar("Server", bound=_Server)


class Lab:
    """One origin, one RabbitMQ and one mongod for all rows; a folder for each program."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        folder = TemporaryDirectory(prefix="md5-light-bench-", ignore_cleanup_errors=True)
        self._folder = Path(self._stack.enter_context(folder))
        self._stack.callback(self._kill_strays)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _kill_strays(self) -> None:
        """End what knows our folder: there is no handle on a server whose start was broken off."""
        folder = os.fsencode(self._folder)
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (
                    folder
                    in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                ):
                    os.kill(int(process.name), signal.SIGKILL)

    @cached_property
    def nginx(self) -> Nginx:
        return self._keep(Nginx(self._folder / "nginx"))

    @cached_property
    def rabbitmq(self) -> RabbitMQ:
        return self._keep(RabbitMQ(self._folder / "rabbitmq"))

    @cached_property
    def mongod(self) -> Mongod:
        return self._keep(Mongod(self._folder / "mongod", is_replica_set=True))

    def _keep(self, server: Server) -> Server:
        self._stack.callback(server.stop)
        return server

    @property
    def environ(self) -> dict[str, str]:
        """The settings of every program, embedded ones with a new store each."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {
            **inherited,
            "DATA_DIR": str(self.new_folder() / "data"),
            "ALLOW_NETWORKS": "127.0.0.0/8",
            "CA_BUNDLE": str(self.nginx.ca_bundle),
            "SUBMITS_PER_MINUTE": "0",
            "CONNECTIONS_PER_CLIENT": "0",
        }

    def new_folder(self) -> Path:
        self._count += 1
        return self._folder / str(self._count)

    @contextmanager
    def tasks(self) -> Iterator[tuple[Tasks, dict[str, str]]]:
        """A new collection, and the settings that name it and RabbitMQ, whose queues are empty."""
        url = self.mongod.database_url(f"bench_{uuid.uuid4().hex}")
        self.rabbitmq.purge()
        with pymongo.MongoClient[dict[str, Any]](url, tz_aware=True) as client:
            database = client.get_default_database()
            yield (
                database["tasks"],
                {"MONGODB_URL": url, "RABBITMQ_URL": self.rabbitmq.url},
            )
            client.drop_database(database)
        self.rabbitmq.purge()

    @contextmanager
    def service(self, **settings: str) -> Iterator[Service]:
        """`python -m service`, embedded unless the settings say otherwise."""
        service = Service(self.new_folder(), {**self.environ, **settings})
        try:
            yield service
        finally:
            service.kill()

    @contextmanager
    def program(self, *arguments: str, settings: Mapping[str, str]) -> Iterator[Process]:
        """`python` with these arguments."""
        command = [sys.executable, *arguments]
        program = Process(command, self.new_folder(), {**self.environ, **settings})
        try:
            yield program
        finally:
            program.kill()
