"""Several big files at once: all downloads together against as many curls, and the network."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bench import cpu
from bench.lab import Lab
from bench.rows import Row, alternate
from devtools.servers.process import PROJECT

BYTES = 10**9
COUNTS = (1, 4, 8, 16)
RUNS = 1  # of up to 16 GB
PIPES = 'for number in $(seq "$0"); do curl -sf --cacert "$1" "$2" | md5sum & done; wait'


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of all downloads together."""

    size: int
    seconds: float
    cpu_seconds: float
    peak_memory: int = 0  # bytes

    @property
    def megabytes_per_second(self) -> float:
        return self.size / 1e6 / self.seconds

    @property
    def cpu_seconds_per_gigabyte(self) -> float:
        return self.cpu_seconds / self.size * 1e9


def measure(lab: Lab) -> Iterator[Row]:
    """Over http and over https; the files are in the page cache."""
    path = lab.nginx.add(BYTES)
    for scheme, url in (("http", lab.nginx.http + path), ("https", lab.nginx.https + path)):
        for count in COUNTS:
            runs = alternate(
                RUNS,
                ours=partial(_run, lab, "download", count, url),
                curl=partial(_curl, lab, count, url),
                receive=partial(_run, lab, "receive", count, url),
            )
            assert {run.size for each in runs.values() for run in each} == {count * BYTES}
            yield from _rows(f"1 GB over {scheme}, {count} at once", runs)


def _rows(name: str, runs: dict[str, list[Run]]) -> Iterator[Row]:
    speeds = {key: [run.megabytes_per_second for run in each] for key, each in runs.items()}
    for rival, rival_name in (("curl", "as many curl | md5sum"), ("receive", "receiving alone")):
        yield Row(
            name=name,
            unit="MB/s",
            ours=speeds["ours"],
            rival_name=rival_name,
            rival=speeds[rival],
            is_more_better=True,
        )
    yield Row(
        name=f"{name}, processor time",
        unit="s/GB",
        ours=[run.cpu_seconds_per_gigabyte for run in runs["ours"]],
        rival_name="as many curl | md5sum",
        rival=[run.cpu_seconds_per_gigabyte for run in runs["curl"]],
    )
    yield Row(
        name=f"{name}, memory",
        unit="MiB",
        ours=[run.peak_memory / 2**20 for run in runs["ours"]],
    )


def _run(lab: Lab, kind: str, count: int, url: str) -> Run:
    command = [sys.executable, "-m", "bench.at_once", kind, str(count), url]
    answer = subprocess.run(command, check=True, capture_output=True, cwd=PROJECT, env=lab.environ)
    return Run(**json.loads(answer.stdout))


def _curl(lab: Lab, count: int, url: str) -> Run:
    used, began = cpu.of_ended_children(), time.monotonic()
    command = ["bash", "-c", PIPES, str(count), str(lab.nginx.ca_bundle), url]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - began
    digests = answer.stdout.split("\n")[:-1]
    assert len(digests) == count
    assert len(set(digests)) == 1
    return Run(count * BYTES, seconds, cpu.of_ended_children() - used)
