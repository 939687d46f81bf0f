"""The running system, embedded and distributed."""

import os
from functools import cached_property
from pathlib import Path

from devtools.servers.process import Process
from devtools.servers.rabbitmq import RabbitMQ
from devtools.servers.system import Service, Workers
from settings import Settings
from tasks.stores.contract import TaskStore
from tasks.stores.open import open_store


class System:
    """A deployment: its settings, and the processes that were started with them."""

    def __init__(
        self, folder: Path, settings: dict[str, str], rabbitmq: RabbitMQ | None = None
    ) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environ = {
            **inherited,
            "DATA_DIR": str(folder / "data"),
            "ALLOW_NETWORKS": "127.0.0.0/8, ::1",  # localhost may resolve to either
            "LEASE": "3s",
            "SUBMITS_PER_MINUTE": "0",
            "MAILS_PER_HOUR": "0",
            "MAILS_PER_HOUR_TO_DOMAIN": "0",
            "MAILS_PER_HOUR_OF_CLIENT": "0",
            **settings,
        }
        self._folder = folder
        self.processes: list[Process] = []
        self.is_distributed = "RABBITMQ_URL" in settings
        self.rabbitmq = rabbitmq

    def start(self) -> Service:
        """All that is needed for a task to be done; returns the service."""
        if self.is_distributed:
            self.start_workers()
        return self.start_service()

    def start_service(self, *, module: str = "service", **settings: str) -> Service:
        environ = {**self.environ, **settings}
        service = Service(self._next_folder(), environ, module=module)
        self.processes.append(service)
        self.service = service
        return service

    def start_workers(
        self, *, processes: int = 1, threads: int = 10, module: str = "actors", **settings: str
    ) -> Workers:
        environ = {**self.environ, **settings}
        workers = Workers(
            self._next_folder(), environ, processes=processes, threads=threads, module=module
        )
        self.processes.append(workers)
        self.workers = workers
        return workers

    @cached_property
    def store(self) -> TaskStore:
        """Another look at the system's tasks."""
        return open_store(Settings.from_env(self.environ))

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._close_store()

    def _close_store(self) -> None:
        if "store" in self.__dict__:
            self.store.close()
            del self.store

    def _next_folder(self) -> Path:
        return self._folder / f"process{len(self.processes)}"

    def kill(self) -> None:
        """SIGKILL to every process, children included."""
        for process in self.processes:
            process.kill()

    def stop(self) -> None:
        """Leave nothing behind, as politely as an operator would."""
        for process in self.processes:
            process.stop()
        self._close_store()
