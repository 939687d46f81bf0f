"""The programs that are tested."""

import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import requests

from tests.servers.process import Process, free_port
from tests.waiting import wait_for


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
