"""Single tasks and other requests while batches run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import requests

from bench.lab import Lab
from bench.latency import PATIENCE_SECONDS, submit_and_poll
from bench.load import Request, finish
from bench.rows import Row, percentile
from bench.slow import slow_origin
from devtools.servers.system import Service

LINES = 10_000
SINGLES = 30
SLOW_SECONDS = 30.0
RAMP_SECONDS = 12.0  # until the slow downloads have all their threads
EMAIL = "someone@example.com"
CLIENTS = 1000
BATCHES = 100
POLL_SECONDS = 5.0  # what Retry-After says after a while
SECONDS = 10.0
INTERVAL_SECONDS = 0.01
IDLE = "itself, idle"


def measure(lab: Lab) -> Iterator[Row]:
    """Single tasks beside batches, and other requests beside submissions of lists."""
    url = lab.nginx.http + lab.nginx.add(2**10)
    with slow_origin(lab, SLOW_SECONDS) as slow_url:
        yield from _beside_members(lab, url, slow_url)
        yield from _beside_polls(lab, url, slow_url)
    yield from _beside_submissions(lab, "embedded", url, {})
    with lab.tasks() as (_, settings):
        yield from _beside_submissions(lab, "distributed", url, settings)


@contextmanager
def _distributed(lab: Lab) -> Iterator[Service]:
    """A service and one worker process, with no limit on the lanes of a host."""
    mails = {"MAILS_PER_HOUR": "0", "MAILS_PER_HOUR_TO_DOMAIN": "0"}
    limits = {"MAILS_PER_HOUR_OF_CLIENT": "0", "URLS_PER_HOUR": "0", "BATCH_PER_HOST": "0"}
    data = {"DATA_DIR": str(lab.new_folder())}
    worker = ("-m", "dramatiq", "actors", "-p", "1", "-t", "8")
    with lab.tasks() as (_, urls):
        settings = {**mails, **limits, **data, **urls}
        with lab.program(*worker, settings=settings), lab.service(**settings) as service:
            yield service


def _beside_members(lab: Lab, url: str, slow_url: str) -> Iterator[Row]:
    with _distributed(lab) as service:
        _single_with_mail(service, url)  # opens connections and imports modules
        idle = [_single_with_mail(service, url) for _ in range(SINGLES)]
    slow = f"slow ({SLOW_SECONDS:.0f} s)"
    for name, member, ramp in (("fast", url, 2.0), (slow, slow_url, RAMP_SECONDS)):
        with _distributed(lab) as service:
            _submit(service, [member] * LINES)
            time.sleep(ramp)
            times = [_single_with_mail(service, url) for _ in range(SINGLES)]
        yield Row(
            name=f"single task and its mail beside a batch of 10,000 {name} files, median",
            unit="ms",
            ours=[percentile(times, 50)],
            rival_name=IDLE,
            rival=[percentile(idle, 50)],
        )


def _beside_polls(lab: Lab, url: str, slow_url: str) -> Iterator[Row]:
    with _distributed(lab) as service:
        _single_with_mail(service, url)
        ids = [_submit(service, [slow_url] * 100) for _ in range(BATCHES)]
        time.sleep(RAMP_SECONDS)
        idle = [_single_with_mail(service, url) for _ in range(SINGLES)]
        paths = [f"/check?id={each}" for each in ids]
        polls = Request(service.base, paths, "", CLIENTS, SECONDS, POLL_SECONDS).start()
        time.sleep(2)
        times = [_single_with_mail(service, url) for _ in range(SINGLES)]
        load = finish(polls)
    name = f"{CLIENTS:,} clients poll {BATCHES} batches"
    yield Row(
        name=f"single task and its mail while {name}, median",
        unit="ms",
        ours=[percentile(times, 50)],
        rival_name="itself, without polls",
        rival=[percentile(idle, 50)],
    )
    yield Row(name=f"{name}, p99", unit="ms", ours=[load.p99])


def _beside_submissions(
    lab: Lab, deployment: str, url: str, settings: dict[str, str]
) -> Iterator[Row]:
    with lab.service(**settings, URLS_PER_HOUR="0") as service:
        task_id = service.submit(url)
        before = service.peak_memory()
        path = f"/check?id={task_id}"
        checks = Request(service.base, [path], "", 1, SECONDS, INTERVAL_SECONDS).start()
        end = time.monotonic() + SECONDS
        seconds = []
        while time.monotonic() < end:
            began = time.monotonic()
            _submit(service, [f"{url}?{number}" for number in range(LINES)])
            seconds.append(time.monotonic() - began)
        grown = service.peak_memory() - before
        p99 = finish(checks).p99
    name = f"lists of 10,000 URLs submitted, {deployment}"
    yield Row(name=f"{name}, time to the 202", unit="s", ours=seconds)
    yield Row(name=f"{name}, p99 of a concurrent /check", unit="ms", ours=[p99])
    yield Row(name=f"{name}, growth of the service", unit="MiB", ours=[grown / 2**20])


def _submit(service: Service, urls: Sequence[str]) -> str:
    files = {"urls": ("urls.txt", "\n".join(urls))}
    answer = requests.post(f"{service.base}/submit", files=files, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _single_with_mail(service: Service, url: str) -> float:
    """Return the milliseconds from the submission until the mail is sent."""
    connection = HTTPConnection(urlsplit(service.base).netloc, timeout=PATIENCE_SECONDS)
    try:
        return submit_and_poll(connection, url, EMAIL)
    finally:
        connection.close()
