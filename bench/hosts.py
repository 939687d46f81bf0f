"""Lists of as many hosts as files."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import requests

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate

FILES = 1000
RUNS = 3
THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """How it went with a list; the rate is from the first finished file to the last."""

    files_per_second: float
    messages_per_file: float
    submit_seconds: float  # until the 202


def measure(lab: Lab) -> Iterator[Row]:
    """One worker process with eight threads over RabbitMQ and MongoDB."""
    path = lab.nginx.add(2**10)
    runs = alternate(
        RUNS,
        many=partial(_submit_and_wait, lab, [host + path for host in lab.nginx.hosts[:FILES]]),
        one=partial(_submit_and_wait, lab, [lab.nginx.http + path] * FILES),
    )
    many, one = runs["many"], runs["one"]
    name = f"list of {FILES:,} files of 1 KiB on {FILES:,} hosts"
    rival = f"{FILES:,} files on one host"
    yield Row(
        name=f"{name}, 1 worker process",
        unit="files/s",
        ours=[run.files_per_second for run in many],
        rival_name=rival,
        rival=[run.files_per_second for run in one],
        is_more_better=True,
    )
    yield Row(
        name=f"{name}, messages",
        unit="messages/file",
        ours=[run.messages_per_file for run in many],
        rival_name=rival,
        rival=[run.messages_per_file for run in one],
    )
    yield Row(
        name=f"{name}, submit to 202",
        unit="s",
        ours=[run.submit_seconds for run in many],
        rival_name=rival,
        rival=[run.submit_seconds for run in one],
    )


def _submit_and_wait(lab: Lab, urls: Sequence[str]) -> _Listed:
    """Submit a list to the service, which sends only the first messages; sweepers send the rest."""
    worker = ("-m", "dramatiq", "actors", "bench.counter", "-p", "1", "-t", str(THREADS))
    with (
        lab.tasks() as (tasks, settings),
        lab.program(*worker, settings=settings) as workers,
        lab.service(**settings) as service,
    ):
        service.wait_for_end(service.submit(urls[0]))  # opens connections and imports modules
        began = time.monotonic()
        answer = requests.post(f"{service.base}/submit", json={"urls": urls}, timeout=60)
        submit_seconds = time.monotonic() - began
        answer.raise_for_status()
        end = service.wait_for_end(answer.json()["id"]).json()
        assert end["tasks"]["done"] == len(urls), end
        workers.stop()
        members = {"member": {"$exists": True}}
        return _Listed(
            files_per_second=drain.rate_of(tasks, members),
            messages_per_file=drain.messages_of(workers) / len(urls),
            submit_seconds=submit_seconds,
        )
