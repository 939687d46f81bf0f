"""The speed of exports, and the memory that they need."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, islice

import requests

from bench.lab import Lab
from bench.rows import Row
from service.batch_submission import BatchSubmission
from service.lines import Entry
from settings import Settings
from tasks.batch import Tally
from tasks.digests import Algorithm, Digest, Expected
from tasks.outcome import Succeeded
from tasks.stores.contract import TaskStore
from tasks.stores.open import open_store
from tasks.task import Task

SMALL, MEMBERS, MILLION = 1000, 10_000, 1_000_000
INSERTED = 1000
KEPT = timedelta(days=30)
FORMATS = ("csv", "sts")


def measure(lab: Lab) -> Iterator[Row]:
    """A batch of 10,000."""
    yield from _measure(lab, MEMBERS)


def measure_million(lab: Lab) -> Iterator[Row]:
    """A batch of a million, which is larger than any that is accepted."""
    yield from _measure(lab, MILLION)


def _measure(lab: Lab, size: int) -> Iterator[Row]:
    yield from _rows(lab, "SQLite", size, {"DATA_DIR": str(lab.new_folder())})
    with lab.tasks() as (_, settings):
        yield from _rows(lab, "MongoDB", size, settings)


def _rows(lab: Lab, store_name: str, size: int, settings: Mapping[str, str]) -> Iterator[Row]:
    environ = {**lab.environ, **settings}
    store = open_store(Settings.from_env(environ))
    store.count_unfinished(1)  # makes the indexes, as the first submission does
    small_id, batch_id = (
        insert_batch(store, [f"https://example.com/{number}" for number in range(count)])
        for count in (SMALL, size)
    )
    store.close()
    with lab.service(**settings) as service:
        for format_ in FORMATS:
            _download(service.base, small_id, format_)
        before = service.peak_memory()
        seconds = [_download(service.base, batch_id, format_) for format_ in FORMATS]
        grown = service.peak_memory() - before
    name = f"export of {size:,} results, {store_name}"
    for format_, its_seconds in zip(FORMATS, seconds, strict=True):
        yield Row(
            name=f"{name}, {format_}",
            unit="results/s",
            ours=[size / its_seconds],
            is_more_better=True,
        )
    yield Row(
        name=f"{name}, growth of the service beyond that of {SMALL:,}",
        unit="MiB",
        ours=[grown / 2**20],
    )


def insert_batch(store: TaskStore, urls: Sequence[str]) -> str:
    """Store a batch that is done, and return its id."""
    now = store.now()
    entries = [Entry(url, Expected()) for url in urls]
    parts = BatchSubmission(entries=entries, email=None, task_id=None, networks=()).parts(now, 4)

    def ended(task: Task) -> Task:
        digest = Digest(
            {Algorithm.MD5: "d41d8cd98f00b204e9800998ecf8427e"},
            0,
            task.url,
            is_length_verified=True,
        )
        tally = Tally(done=len(urls))
        outcome = Succeeded(tally=tally) if task.batch else Succeeded(digest)
        return task.claimed(now, KEPT).ended(outcome, now, retention=KEPT)

    members = (replace(each, wake_at=now, expires_at=None) for each in parts.members())
    tasks = map(ended, chain(members, [parts.batch]))
    while some := list(islice(tasks, INSERTED)):
        store.insert_all(some)
    return parts.batch.id


def _download(base: str, task_id: str, format_: str) -> float:
    """Return the seconds that an export takes."""
    began = time.monotonic()
    parameters = {"id": task_id, "format": format_}
    with requests.get(f"{base}/export", parameters, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        for _ in answer.iter_content(2**16):
            pass
    return time.monotonic() - began
