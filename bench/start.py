"""How long it takes until the service answers, and what its imports cost of that."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import requests

from bench.lab import Lab
from bench.rows import Row
from devtools.servers.process import PROJECT, Process, free_port

RUNS = 5
POLL_SECONDS = 0.005
PATIENCE_SECONDS = 60


def measure(lab: Lab) -> Iterator[Row]:
    """With everything installed and compiled, as from the second start on."""
    yield Row(
        name="make run to the first answer", unit="s", ours=[_start(lab) for _ in range(RUNS)]
    )
    yield Row(name="import of service.app", unit="s", ours=[_import(lab) for _ in range(RUNS)])


def _start(lab: Lab) -> float:
    port = free_port()
    command = ["make", "--silent", "run", f"PORT={port}"]
    began = time.monotonic()
    program = Process(command, lab.new_folder(), {**lab.environ, "PORT": str(port)})
    try:
        while time.monotonic() < began + PATIENCE_SECONDS:
            assert program.is_running, program.output
            with suppress(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{port}/health/live", timeout=5)
                return time.monotonic() - began
            time.sleep(POLL_SECONDS)
        raise TimeoutError(program.output)
    finally:
        program.kill()


def _import(lab: Lab) -> float:
    command = [sys.executable, "-X", "importtime", "-c", "import service.app"]
    report = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=PROJECT, env=lab.environ
    ).stderr
    # The last line is that of the module itself: own, cumulative microseconds | name
    return int(report.splitlines()[-1].split("|")[1]) / 1e6
