"""The download of a worker: fetch/ with the settings and the metrics."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from fetch.bounds import Limits
from fetch.download import Progress, download
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.kept import KeptConnections
from fetch.lookup import Resolver
from fetch.transport import Transport
from settings import Settings
from tasks.digests import Algorithm, Digest
from worker import metrics


class Downloader:
    """Downloads with the operator's limits, over the calling thread's own connections."""

    def __init__(self, settings: Settings, kept: KeptConnections) -> None:
        self._settings = settings
        self._kept = kept
        self._guard = Guard(allow=settings.allow_networks, deny=settings.deny_networks)
        self._resolver = Resolver()
        self._limits = Limits.from_settings(settings)
        self._local = threading.local()
        self._transports: dict[threading.Thread, Transport] = {}
        self._lock = threading.Lock()

    def fetch(  # noqa: PLR0913, PLR0917  the call has them all
        self,
        url: str,
        algorithms: Sequence[Algorithm],
        progress: Progress,
        is_cancelled: Callable[[], bool],
        seconds_left: float,
        on_break: Callable[[FetchError], None],
    ) -> Digest:
        """Download once. Raises FetchError and FetchCancelledError."""
        bytes_done = 0

        def record_progress(done: int, total: int | None) -> None:
            nonlocal bytes_done
            metrics.download_bytes.inc(amount=max(0, done - bytes_done))  # it may start again
            bytes_done = done
            progress(done, total)

        limits = self._limits
        if seconds_left < limits.deadline:
            limits = replace(limits, deadline=seconds_left)
        with metrics.download_seconds.time():
            return download(
                url,
                self._transport(),
                limits,
                algorithms=algorithms,
                progress=record_progress,
                is_cancelled=is_cancelled,
                on_break=on_break,
            )

    def _transport(self) -> Transport:
        """Return the transport of this thread, which may be that of a thread that has ended."""
        if not hasattr(self._local, "transport"):
            with self._lock:
                ended = next((each for each in self._transports if not each.is_alive()), None)
                transport = self._make_transport() if ended is None else self._transports.pop(ended)
                self._transports[threading.current_thread()] = transport
            self._local.transport = transport
        return cast("Transport", self._local.transport)

    def _make_transport(self) -> Transport:
        return Transport(
            self._guard,
            resolver=self._resolver,
            kept=self._kept,
            ca_bundle=self._settings.ca_bundle,
            user_agent=self._settings.sent_user_agent,
        )
