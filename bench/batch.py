"""Small files in one batch: our lanes against bare workers, and against our own single tasks."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import requests

from bench import drain
from bench.lab import Lab
from bench.rows import Row, alternate
from bench.small import SESSION, submit_and_wait
from devtools.waiting import FIRST_PAUSE, wait_for

TASKS = 10_000
RUNS = 3
THREADS = 8
SINGLES = "our single tasks"


def measure(lab: Lab) -> Iterator[Row]:
    """One process with eight threads over RabbitMQ and MongoDB, and the embedded service."""
    url = lab.nginx.http + lab.nginx.add(2**10)
    runs = alternate(
        RUNS,
        ours=partial(drain.drain_batches, lab, [[url] * TASKS], per_host=THREADS),
        bare=partial(drain.drain, lab, drain.BARE_SESSION, url, TASKS // 4, threads=THREADS),
        singles=partial(drain.drain, lab, drain.OURS, url, TASKS // 4, threads=THREADS),
    )
    for rival, name in (("bare", SESSION), ("singles", SINGLES)):
        yield Row(
            name="batch of 10,000 files of 1 KiB, 1 worker process",
            unit="tasks/s",
            ours=[run.tasks_per_second for run in runs["ours"]],
            rival_name=name,
            rival=[run.tasks_per_second for run in runs[rival]],
            is_more_better=True,
        )
        yield Row(
            name="batch of 10,000 files of 1 KiB, processor time",
            unit="s/1,000 tasks",
            ours=[run.cpu_seconds for run in runs["ours"]],
            rival_name=name,
            rival=[run.cpu_seconds for run in runs[rival]],
        )
    yield Row(
        name="batch of 10,000 files of 1 KiB, messages",
        unit="messages",
        ours=[run.messages for run in runs["ours"]],
    )
    embedded = alternate(
        RUNS,
        ours=partial(_submit_batch_and_wait, lab, url),
        singles=partial(submit_and_wait, lab, url),
    )
    yield Row(
        name="batch of 10,000 files of 1 KiB, embedded",
        unit="tasks/s",
        ours=[rate for rate, _ in embedded["ours"]],
        rival_name=SINGLES,
        rival=[rate for rate, _ in embedded["singles"]],
        is_more_better=True,
    )
    yield Row(
        name="batch of 10,000 URLs, submit to 202, embedded",
        unit="s",
        ours=[seconds for _, seconds in embedded["ours"]],
    )


def _submit_batch_and_wait(lab: Lab, url: str) -> tuple[float, float]:
    """Tasks per second from the first result to the last, and the seconds of the submission."""
    data = lab.new_folder()
    with lab.service(DATA_DIR=str(data), BATCH_PER_HOST=str(THREADS)) as service:
        began = time.monotonic()
        answer = requests.post(f"{service.base}/submit", json={"urls": [url] * TASKS}, timeout=60)
        submit_seconds = time.monotonic() - began
        answer.raise_for_status()
        with closing(sqlite3.connect(data / "tasks.sqlite3")) as connection:
            unsettled = "SELECT count(*) FROM tasks WHERE wake_at IS NOT NULL"
            wait_for(
                lambda: connection.execute(unsettled).fetchone() == (0,),
                120,
                longest_pause=FIRST_PAUSE,
            )
            first, last = connection.execute(
                "SELECT min(finished_at), max(finished_at)"
                " FROM (SELECT json_extract(document, '$.finished_at') AS finished_at FROM tasks"
                " WHERE json_extract(document, '$.member.group') IS NOT NULL)"
            ).fetchone()
    return (TASKS - 1) / (last - first) * 1000, submit_seconds
