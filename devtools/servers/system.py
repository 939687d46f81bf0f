"""The programs that are tested."""

import re
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import requests

from devtools.servers.process import Process, free_port
from devtools.waiting import PATIENCE, wait_for

REPLY_SECONDS = 30.0  # in which a service answers, also on a busy machine


class Service(Process):
    """`python -m service`, asked over HTTP."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], *, module: str = "service"
    ) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", module], folder, {**environ, "PORT": str(port)})
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.is_running, self.output[-4000:]
        try:
            response = requests.get(f"{self.base}/health/live", timeout=REPLY_SECONDS)
        except requests.ConnectionError:
            return False
        return response.status_code == HTTPStatus.OK

    def submit(self, url: str, *, seconds: float = REPLY_SECONDS, **data: str) -> str:
        """Return the id of a new task."""
        response = self.try_to_submit(url, seconds=seconds, **data)
        assert response.status_code == HTTPStatus.ACCEPTED, response.text
        return str(response.json()["id"])

    def try_to_submit(
        self, url: str, *, seconds: float = REPLY_SECONDS, **data: str
    ) -> requests.Response:
        return requests.post(f"{self.base}/submit", data={"url": url, **data}, timeout=seconds)

    def check(self, task_id: str) -> requests.Response:
        return requests.get(f"{self.base}/check", params={"id": task_id}, timeout=REPLY_SECONDS)

    def wait_for_end(self, task_id: str, seconds: float = PATIENCE) -> requests.Response:
        """The answer to `check` once the task has ended."""

        def end() -> tuple[requests.Response] | None:
            answer = self.check(task_id)  # a failure is false, so it needs a wrapping
            return None if answer.status_code == HTTPStatus.ACCEPTED else (answer,)

        ended = wait_for(end, seconds)
        assert ended is not None
        return ended[0]


class Workers(Process):
    """`dramatiq actors`, ready for messages."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        *,
        processes: int = 1,
        threads: int = 4,
        module: str = "actors",
    ) -> None:
        super().__init__(
            [sys.executable, "-m", "dramatiq", module, "-p", str(processes), "-t", str(threads)],
            folder,
            environ,
        )
        wait_for(lambda: self.output.count("ready for action") >= processes or not self.is_running)
        assert self.is_running, self.output[-4000:]

    @property
    def children(self) -> list[int]:
        """The process ids of the workers proper; the program itself is their master."""
        return [int(pid) for pid in re.findall(r"\[PID (\d+)\].*ready for action", self.output)]
