"""Exports the metrics of all processes of the service, or of `dramatiq actors`, to Prometheus.

Each process writes its values to files of a folder, from which any of them adds them up
(prometheus_client's multiprocess mode). The folder belongs to one start of the program only.
Its name comes from a secret that Python gives to a process and to its children.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server, values
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from telemetry.metrics import Metric
from telemetry.run_folder import FOLDER_PREFIX

_YOUNG_SECONDS = 60.0
CLIENT_SECONDS = 10.0
_FILE_BYTES = 256 * 1024  # more than our series take


@dataclass(frozen=True, slots=True)
class Exporter:
    """What the processes of this start of the program have counted."""

    folder: Path
    is_first: bool  # whether this process was the first one; the folder is removed with it

    def render(self, *collectors: Collector) -> bytes:
        """Return the values of all processes and of the collectors, in Prometheus's format."""
        return generate_latest(self._registry(*collectors))

    def serve(self, host: str, port: int, *collectors: Collector) -> WSGIServer:
        """Answer Prometheus from threads of this process. Raises OSError if it cannot listen."""
        server, _thread = start_http_server(port, host, self._registry(*collectors))
        # Or a client that sends nothing would keep its thread for ever.
        handler = cast("type", server.RequestHandlerClass)
        server.RequestHandlerClass = type("_Handler", (handler,), {"timeout": CLIENT_SECONDS})
        return server

    def _registry(self, *collectors: Collector) -> CollectorRegistry:
        registry = CollectorRegistry()
        _Processes(registry, str(self.folder))
        for each in collectors:
            registry.register(each)
        return registry


def set_up(*metrics: Metric[Any]) -> Exporter:
    """Let this process export its metrics, which start at 0.

    Makes the folder of this start of the program if this process is its first one, and removes
    those that killed programs have left. Changes the class of values of prometheus_client, which
    it has chosen when it was imported.
    """
    folder, is_first = _open_folder()
    _reserve(folder)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    for metric in metrics:
        metric.start()
    return Exporter(folder, is_first)


def _open_folder() -> tuple[Path, bool]:
    """The folder, and whether this process has made it; it is removed with the one that has."""
    secret = bytes(multiprocessing.current_process().authkey)
    name = f"{FOLDER_PREFIX}{hashlib.sha256(secret).hexdigest()[:32]}"
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
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
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
    """Take the space for this process's files now. A disk that is full later would kill it."""
    for kind in ("counter", "histogram", "gauge_livemin", "gauge_livesum"):
        with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
            file.write(bytes(max(0, _FILE_BYTES - file.tell())))  # macOS lacks posix_fallocate


class _Processes(MultiProcessCollector):
    """Collects the values of all processes, without the live gauges of those that have ended."""

    def __init__(self, registry: CollectorRegistry, folder: str) -> None:
        self._folder = Path(folder)
        super().__init__(registry, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Family]:
        for file in self._folder.glob("gauge_live*.db"):
            pid = int(file.stem.rpartition("_")[2])
            try:
                os.kill(pid, 0)
            except OSError:  # it ended, or its id has gone to another user
                with suppress(FileNotFoundError):  # another scrape was first
                    mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        return super().collect()  # type: ignore[no-untyped-call,no-any-return]
