"""What is counted and measured, in every process of the service or of `dramatiq actors`.

Each process writes its values to files of a folder, from which whoever is asked adds them up
(prometheus_client's multiprocess mode). The folder belongs to one start of the program and to
nobody else: its name comes from a secret that Python gives to a process and to its children.
"""

import fcntl
import hashlib
import multiprocessing
import multiprocessing.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import cast
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
    values,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from tasks.failure import FailureCode
from tasks.outcome import Delayed, Failed, Outcome, RetryLater, Succeeded
from tasks.step import Status, StepKind

_PREFIX = "md5-light-metrics-"
_YOUNG_SECONDS = 60.0
CLIENT_SECONDS = 10.0
_FILE_BYTES = 256 * 1024  # more than our series take


def _open_folder() -> tuple[Path, bool]:
    """The folder, and whether this process has made it; it is removed with the one that has."""
    secret = bytes(multiprocessing.current_process().authkey)
    name = f"{_PREFIX}{hashlib.sha256(secret).hexdigest()[:32]}"
    folder = Path(tempfile.gettempdir(), name)
    try:
        folder.mkdir(mode=0o700)
        is_first = True
    except FileExistsError:
        is_first = False
    # Held until this process ends, however it does: the sign that the folder is in use.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    if is_first:
        multiprocessing.util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
        _remove_left_over(folder.parent)
    return folder, is_first


def _remove_left_over(parent: Path) -> None:
    """Of programs that were killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:  # it may not be locked yet
                continue
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _reserve(folder: Path) -> None:
    """Take the room for this process's files now: with a disk full later, it would be killed."""
    for kind in ("counter", "histogram", "gauge_livemin"):
        with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)


FOLDER, IS_FIRST_PROCESS = _open_folder()
_reserve(FOLDER)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(FOLDER)
# Whoever imported the package before us.
values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]

_MAIL_OUTCOMES: dict[type[Outcome], str] = {
    Succeeded: "sent",
    Failed: "refused",
    RetryLater: "retried",
    Delayed: "delayed",
}
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28800)
_DOWNLOADS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28800)
_REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

queue_wait = Histogram(
    "md5_light_queue_wait_seconds",
    "From the submission of a task to the claim of its first attempt.",
    buckets=_WAITS,
)
download_seconds = Histogram(
    "md5_light_download_seconds", "How long downloads took, failed ones too.", buckets=_DOWNLOADS
)
download_bytes = Counter("md5_light_download_bytes_total", "Bytes downloaded and hashed.")
ended = Counter(
    "md5_light_tasks_ended_total", "Tasks done or failed; the code says why.", ["status", "code"]
)
retries = Counter("md5_light_retries_total", "Attempts that will be repeated.", ["code"])
mails = Counter("md5_light_mails_total", "Tries to send a mail.", ["outcome"])
repairs = Counter(
    "md5_light_sweeper_repairs_total", "Messages sent again, and leases taken away.", ["kind"]
)
trimmed = Counter(
    "md5_light_tasks_trimmed_total", "Settled tasks removed early because of MAX_STORED."
)
claims_lost = Counter("md5_light_claims_lost_total", "Claims that a worker found to be gone.")
refusals = Counter("md5_light_submissions_refused_total", "Submissions refused.", ["reason"])
connections_refused = Counter(
    "md5_light_connections_refused_total", "Connections refused because too many are open."
)
request_seconds = Histogram(
    "md5_light_http_request_seconds",
    "From a request's headers to its response.",
    ["route", "status"],
    buckets=_REQUESTS,
)

# Every series exists at 0 from the start: an alert cannot see the first event of a new one.
for _code in FailureCode:
    ended.labels(Status.FAILED, _code)
    retries.labels(_code)
for _outcome in _MAIL_OUTCOMES.values():
    mails.labels(_outcome)
message_repairs, lease_repairs = repairs.labels("message"), repairs.labels("lease")
_done = ended.labels(Status.DONE, "")


@cache
def _broker_up() -> Gauge:
    """Created by the processes that use a broker, as the lowest value of all processes counts."""
    return Gauge(
        "md5_light_broker_up",
        "Whether every process can use the broker; 1 if the workers are inside the service.",
        registry=None,
        multiprocess_mode="livemin",
    )


def note_broker(*, is_up: bool) -> None:
    """Report whether this process can use the broker."""
    _broker_up().set(is_up)


def record_outcome(kind: StepKind, outcome: Outcome) -> None:
    """Count what an attempt at a step came to. One that was given back does not count."""
    if kind is StepKind.SEND_EMAIL:
        if type(outcome) in _MAIL_OUTCOMES:
            mails.labels(_MAIL_OUTCOMES[type(outcome)]).inc()
        return
    match outcome:
        case Succeeded():
            _done.inc()
        case Failed(failure) if failure is not None:
            ended.labels(Status.FAILED, failure.code).inc()
        case RetryLater(_, failure) if failure is not None:
            retries.labels(failure.code).inc()


def render(*collectors: Collector) -> bytes:
    """The values of all processes, and those of the collectors, in Prometheus's text format."""
    return generate_latest(_registry(*collectors))


def serve(host: str, port: int, *collectors: Collector) -> WSGIServer:
    """Answer Prometheus from threads of this process. Raises OSError if it cannot listen."""
    server, _thread = start_http_server(port, host, _registry(*collectors))
    # Or a client that sends nothing would keep its thread for ever.
    handler = cast("type", server.RequestHandlerClass)
    server.RequestHandlerClass = type("_Handler", (handler,), {"timeout": CLIENT_SECONDS})
    return server


class _Processes(MultiProcessCollector):
    """Collects the values of all processes, without the live gauges of those that have ended."""

    def collect(self) -> Iterable[Metric]:
        for file in FOLDER.glob("gauge_live*.db"):
            pid = int(file.stem.rpartition("_")[2])
            try:
                os.kill(pid, 0)
            except OSError:  # it ended, or its id has gone to another user
                with suppress(FileNotFoundError):  # another scrape was first
                    mark_process_dead(pid, str(FOLDER))  # type: ignore[no-untyped-call]
        return super().collect()  # type: ignore[no-untyped-call,no-any-return]


def _registry(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    _Processes(registry, str(FOLDER))  # type: ignore[no-untyped-call]
    for each in collectors:
        registry.register(each)
    return registry
