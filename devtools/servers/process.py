"""Programs that tests start and stop."""

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from devtools.waiting import PATIENCE

PROJECT = Path(__file__).parent.parent.parent


class MissingProgramError(Exception):
    """Raised when a program is not on this machine, or does not run on it."""


def find_program(name: str) -> str:
    """Return the path of a program on PATH, or of a server. Raises MissingProgramError."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        raise MissingProgramError(f"{name} is not installed")
    return path


def free_port() -> int:
    """Return a free port that the system does not give to outgoing connections."""
    while True:
        port = random.randint(11_000, 32_000)  # below Linux's ephemeral ports
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def coverage_variables() -> dict[str, str]:
    """Return the variables by which `coverage` measures the programs that a test starts."""
    return {name: text for name, text in os.environ.items() if name.startswith("COVERAGE")}


class Process:
    """A program in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "output.log"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**coverage_variables(), **environ},
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

    def count_descriptors(self) -> int:
        """Return how many descriptors the program has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """Return the CPU time that the program has used so far, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def main_thread_seconds(self) -> float:
        """Return the CPU time of the program's main thread, the event loop of a service."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children.

        A SIGSTOP takes effect before this returns, however busy the machine is.
        """
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def signal_all(self, number: signal.Signals) -> None:
        """To the program and all its children."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once it has ended."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to the program and all its children, also to those that outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of the group after a while."""
        if self.is_running:
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.wait(15)
        self.kill()
