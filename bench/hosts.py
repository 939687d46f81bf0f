"""Lists of as many hosts as files, and lists of a fast and a slow host."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import requests

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate
from bench.slow import slow_origin
from tasks.url import host_of

FILES = 1000
RUNS = 3
THREADS = 8
FAST_FILES = 5000
SLOW_FILES = 100  # more than are begun while the fast ones are downloaded
SLOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """How it went with a list; the rate is from the first finished file to the last."""

    files_per_second: float
    messages_per_file: float
    submit_seconds: float  # until the 202


def measure(lab: Lab) -> Iterator[Row]:
    """One worker process with eight threads over RabbitMQ and MongoDB."""
    yield from _measure_many(lab)
    yield _measure_slow(lab)


def _measure_many(lab: Lab) -> Iterator[Row]:
    path = lab.nginx.add(2**10)
    runs = alternate(
        RUNS,
        many=partial(_submit_and_wait, lab, [host + path for host in lab.nginx.hosts[:FILES]]),
        one=partial(_submit_and_wait, lab, [lab.nginx.http + path] * FILES),
    )
    for what, unit, of in (
        ("1 worker process", "files/s", attrgetter("files_per_second")),
        ("messages", "messages/file", attrgetter("messages_per_file")),
        ("submit to 202", "s", attrgetter("submit_seconds")),
    ):
        yield Row(
            name=f"list of {FILES:,} files of 1 KiB on {FILES:,} hosts, {what}",
            unit=unit,
            ours=list(map(of, runs["many"])),
            rival_name=f"{FILES:,} files on one host",
            rival=list(map(of, runs["one"])),
            is_more_better=unit == "files/s",
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


def _measure_slow(lab: Lab) -> Row:
    """The slow host has as many lanes as there are threads, and its lanes come first."""
    fast_host = lab.nginx.hosts[1]  # the slow one has the first address
    fast = [fast_host + lab.nginx.add(2**10)] * FAST_FILES
    drain_fast = partial(
        drain.drain_batches, lab, per_host=THREADS, until=FAST_FILES, host=host_of(fast_host)
    )
    with slow_origin(lab, SLOW_SECONDS) as slow_url:
        runs = alternate(
            RUNS,
            beside=partial(drain_fast, [[slow_url] * SLOW_FILES + fast]),
            alone=partial(drain_fast, [fast]),
        )
    return Row(
        name=f"fast host beside one that takes {SLOW_SECONDS:.0f} s per file, in one batch",
        unit="files/s",
        ours=[run.tasks_per_second for run in runs["beside"]],
        rival_name="the fast host alone",
        rival=[run.tasks_per_second for run in runs["alone"]],
        is_more_better=True,
    )
