"""The running system, with somebody who starts again what has died."""

import os
import random
import threading
import time
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.process import Process
from devtools.servers.rabbitmq import RabbitMQ
from devtools.servers.system import Workers

PROGRAMS = 2  # of workers; each has two processes of four threads


class Scene:
    """The embedded service, or a service and workers over servers that may fail."""

    def __init__(self, folder: Path, chance: random.Random, *, is_distributed: bool) -> None:
        self.chance = chance
        self._mongod: Mongod | None = None
        self._rabbitmq: RabbitMQ | None = None
        with ExitStack() as started:
            if is_distributed:
                self._mongod = Mongod(folder / "mongod", is_replica_set=True)
                started.callback(self.mongod.stop)
                self._rabbitmq = RabbitMQ(folder / "rabbitmq")
                started.callback(self.rabbitmq.stop)
            self.inbox = Inbox()
            started.callback(self.inbox.stop)
            self._servers = started.pop_all()
        settings = {
            "SMTP_URL": self.inbox.url,
            "RETRY_BASE": "500ms",
            "MAX_ATTEMPTS": "100",  # each of them may meet a fault
            "URLS_PER_HOUR": "0",
        }
        if is_distributed:
            # So that it takes the processes less time to notice.
            timeouts = "heartbeat=2&blocked_connection_timeout=2&stack_timeout=2"
            settings["RABBITMQ_URL"] = f"{self.rabbitmq.url}?{timeouts}"
            settings["MONGODB_URL"] = self.mongod.database_url(f"chaos_{uuid.uuid4().hex}")
        self.system = System(folder, settings, self._rabbitmq)
        self.service = self.system.start_service()
        self.workers = [self._start_workers() for _ in range(PROGRAMS if is_distributed else 0)]
        self.deaths: list[float] = []  # when a worker was killed or frozen, perhaps behind a 250
        self.revivals = 0
        self._stopped = threading.Event()
        self._nurse = threading.Thread(target=self._revive, daemon=True)
        self._nurse.start()

    @property
    def mongod(self) -> Mongod:
        """Return the server of a distributed system."""
        assert self._mongod is not None
        return self._mongod

    @property
    def rabbitmq(self) -> RabbitMQ:
        """Return the server of a distributed system."""
        assert self._rabbitmq is not None
        return self._rabbitmq

    def pause(self, shortest: float, longest: float) -> None:
        """Let a random time pass, in seconds, unless the scene is over."""
        self._stopped.wait(self.chance.uniform(shortest, longest))

    def note_death(self) -> None:
        self.deaths.append(time.monotonic())

    def _start_workers(self) -> Workers:
        return self.system.start_workers(processes=2, threads=4)

    def _revive(self) -> None:
        """What `restart: unless-stopped` does; who dies at once is tried again."""
        while not self._stopped.wait(0.2):
            with suppress(AssertionError):
                if not self.service.is_running:
                    self.revivals += 1
                    self.service = self.system.start_service()
                for number, workers in enumerate(self.workers):
                    if not workers.is_running:
                        self.revivals += 1
                        workers.kill()  # the children that have outlived their master, too
                        self.workers[number] = self._start_workers()

    def stop(self) -> list[str]:
        """End everything as an operator would; what did not end well."""
        self._stopped.set()
        self._nurse.join()
        programs: list[Process] = [self.service, *self.workers]
        for program in programs:
            program.stop()
        left = [f"{program.log} has left a child" for program in programs if _has_child(program)]
        self.system.close()
        self._servers.close()
        return left


def _has_child(program: Process) -> bool:
    try:
        os.killpg(program.pid, 0)
    except ProcessLookupError:
        return False
    return True
