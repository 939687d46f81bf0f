"""Downloads with the operator's limits, over connections that each thread keeps for itself."""

import threading
from collections.abc import Callable
from dataclasses import replace

from fetch.bounds import Limits
from fetch.download import Progress, download
from fetch.guard import Guard
from fetch.kept import KeptConnections
from fetch.lookup import Resolver
from fetch.transport import Transport
from settings import Settings
from tasks.digests import Digest
from worker import metrics
from worker.resources import Fetch


def make_fetch(settings: Settings, kept: KeptConnections) -> Fetch:
    """Return a download with the operator's limits, over the calling thread's own connections."""
    guard = Guard(allow=settings.allow_networks, deny=settings.deny_networks)
    resolver = Resolver()
    limits = Limits.from_settings(settings)
    local = threading.local()

    def fetch(
        url: str, progress: Progress, is_cancelled: Callable[[], bool], seconds_left: float
    ) -> Digest:
        if not hasattr(local, "transport"):
            local.transport = Transport(
                guard,
                resolver=resolver,
                kept=kept,
                ca_bundle=settings.ca_bundle,
                user_agent=settings.sent_user_agent,
            )
        bytes_done = 0

        def note_progress(done: int, total: int | None) -> None:
            nonlocal bytes_done
            metrics.download_bytes.inc(amount=max(0, done - bytes_done))  # it may start again
            bytes_done = done
            progress(done, total)

        with metrics.download_seconds.time():
            return download(
                url,
                local.transport,
                replace(limits, deadline=min(limits.deadline, seconds_left)),
                progress=note_progress,
                is_cancelled=is_cancelled,
            )

    return fetch
