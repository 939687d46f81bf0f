"""Some downloads at once: ours, and as many `curl | md5sum`."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from bench import cpu
from bench.lab import Lab
from devtools.servers.process import PROJECT

PIPES = 'for number in $(seq "$0"); do curl -sf --cacert "$1" "$2" | md5sum & done; wait'


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of all downloads together."""

    bytes: int
    seconds: float
    cpu_seconds: float
    md5: str = ""
    peak_memory: int = 0  # bytes

    @property
    def megabytes_per_second(self) -> float:
        return self.bytes / 1e6 / self.seconds

    @property
    def cpu_seconds_per_gigabyte(self) -> float:
        return self.cpu_seconds / self.bytes * 1e9


def run(lab: Lab, kind: str, count: int, url: str, *digests: str) -> Run:
    """Run `bench.fetch` with these arguments."""
    command = [sys.executable, "-m", "bench.fetch", kind, str(count), url, *digests]
    answer = subprocess.run(command, check=True, capture_output=True, cwd=PROJECT, env=lab.environ)
    return Run(**json.loads(answer.stdout))


def run_curls(lab: Lab, count: int, url: str, size: int) -> Run:
    """Run `curl | md5sum` for `count` files of `size` bytes at once."""
    used, began = cpu.of_ended_children(), time.monotonic()
    command = ["bash", "-c", PIPES, str(count), str(lab.nginx.ca_bundle), url]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - began
    digests = [line.split()[0] for line in answer.stdout.splitlines()]
    assert len(digests) == count
    (md5,) = set(digests)
    cpu_seconds = cpu.of_ended_children() - used
    return Run(bytes=count * size, seconds=seconds, cpu_seconds=cpu_seconds, md5=md5)
