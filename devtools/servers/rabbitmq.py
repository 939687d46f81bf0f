"""A RabbitMQ server of the tests' own."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pika

from devtools.servers.process import MissingProgramError, Process, free_port
from devtools.waiting import wait_for
from tasks.step import StepKind

RABBITMQ_COMMAND = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RABBITMQ_CONTROL = RABBITMQ_COMMAND.with_name("rabbitmqctl")
# Each of the project's, and what dramatiq declares beside it: for delayed and for dead messages.
QUEUES = [f"{kind.value}{end}" for kind in StepKind for end in ("", ".DQ", ".XQ")]


class RabbitMQ:
    """A RabbitMQ server; its queues outlive a kill. Tests get a vhost each."""

    def __init__(self, folder: Path) -> None:
        if not RABBITMQ_COMMAND.exists():
            raise MissingProgramError("rabbitmq-server is not installed")
        self._folder = folder
        self._port, self._epmd_port = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(
            "loopback_users = none\ndisk_free_limit.absolute = 50MB\n"
        )
        (folder / "enabled_plugins").write_text("[].\n")
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/%2F"
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Its threads wait without turning in circles, which tests pay for.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        self.start()

    def start(self) -> None:
        self.process = Process([str(RABBITMQ_COMMAND)], self._folder, self._environ)
        wait_for(self._answers, 60)

    def _answers(self) -> bool:
        assert self.process.is_running, self.process.output[-2000:]
        try:
            self.connect().close()
        except (OSError, pika.exceptions.AMQPError):
            return False
        return True

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        command = [str(RABBITMQ_CONTROL), "--quiet", *arguments]
        done = subprocess.run(
            command, check=False, env=self._environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def consumers(self, queue: str) -> int:
        """Return how many connections take messages from a queue."""
        found = self.control("list_consumers", "--no-table-headers", "queue_name", "channel_pid")
        return len({line for line in found.splitlines() if line.split()[0] == queue})

    def purge(self) -> None:
        """Drop every message of the project's queues."""
        for queue in QUEUES:
            self._try_on_channel("queue_purge", queue)

    def delete_queues(self) -> None:
        for queue in QUEUES:
            self._try_on_channel("queue_delete", queue)

    def waiting(self) -> dict[str, int]:
        """How many messages wait, by queue, where there are any."""
        counts = {}
        for queue in QUEUES:
            found = self._try_on_channel("queue_declare", queue, passive=True)
            if found is not None and found.method.message_count:
                counts[queue] = found.method.message_count
        return counts

    def _try_on_channel(self, method: str, queue: str, **arguments: bool) -> Any:  # noqa: ANN401  pika has no types
        """What the method returns; None when there is no such queue."""
        connection = self.connect()
        try:
            return getattr(connection.channel(), method)(queue, **arguments)
        except pika.exceptions.ChannelClosedByBroker:
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.kill()
        wait_for(self._has_stopped_epmd)

    def _has_stopped_epmd(self) -> bool:
        """It stays behind, and refuses to stop until it has noticed that the node is gone."""
        command = ["epmd", "-port", str(self._epmd_port), "-kill"]
        answer = subprocess.run(command, check=False, capture_output=True).stdout
        return b"Killed" in answer or b"Cannot connect" in answer
