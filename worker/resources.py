"""What the steps of a worker share."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fetch.errors import FetchError
from settings import Settings
from tasks.digests import Algorithm, Digest
from tasks.stores.contract import TaskStore
from worker.leases import LeaseKeeper
from worker.mail.mailer import Mailer

# Downloads a URL. Its arguments after the URL: the digests to compute, a callable that takes the
# bytes done and the total, one that returns whether the download is cancelled, the seconds that it
# may take, and a callable that takes the reason why it has to resume.
Fetch = Callable[
    [
        str,
        Sequence[Algorithm],
        Callable[[int, int | None], None],
        Callable[[], bool],
        float,
        Callable[[FetchError], None],
    ],
    Digest,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the composition root hands to each step."""

    settings: Settings
    store: TaskStore
    fetch: Fetch
    leases: LeaseKeeper
    mailer: Mailer
    relieve: Callable[[threading.Thread], None]  # of further lanes, during a long download
    wake_batch: Callable[[str], None]  # let the batch of that id look at its members at once
    stopping: threading.Event
