"""The actor that downloads and hashes: a thin shell around fetch/."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from actors.fetch.errors import FetchCancelledError, FetchError
from actors.leases import Change, Claim, LeaseKeeper
from settings import Settings
from tasks.task import Digest, Failure, FailureCode, Step, Task

_log = logging.getLogger(__name__)

# Downloads a URL: told where to report progress, and whom to ask whether it is called off.
Fetch = Callable[[str, Callable[[int, int | None], None], Callable[[], bool]], Digest]


@dataclass(frozen=True, slots=True)
class Md5Computer:
    """What an attempt needs: the same for every task of a worker."""

    leases: LeaseKeeper
    fetch: Fetch
    settings: Settings
    stopping: threading.Event

    def compute(self, task_id: str) -> Task | None:
        """Make one attempt at a task, unless it is somebody else's by now.

        Returns the task as it was left, or None when there was nothing to do for us. Raises
        StoreUnavailableError when the worker stops while the store is out of reach.
        """
        return self.leases.attempt(task_id, Step.COMPUTE_MD5, self._attempt, self.stopping)

    def _attempt(self, claim: Claim) -> Change:
        """Download once; returns the change that the outcome means for the task."""
        task = claim.task
        retention = timedelta(seconds=self.settings.retention)

        def is_cancelled() -> bool:
            return claim.is_lost or self.stopping.is_set()

        try:
            digest = self.fetch(task.url, claim.progress, is_cancelled)
        except FetchCancelledError:
            _log.info("given back in attempt %d", task.attempt)
            return Task.released
        except FetchError as error:
            failure, is_final, pause = error.failure, error.is_permanent, error.retry_after
        except Exception:  # noqa: BLE001  the edge: whatever it is, the task must go on
            _log.exception("unexpected error")
            failure = Failure(FailureCode.INTERNAL_ERROR, "Something went wrong on our side.")
            is_final, pause = False, None
        else:
            host = urlsplit(digest.final_url).hostname
            _log.info("done, %d bytes from %s", digest.size, host)
            return lambda task, now: task.done(now, digest, retention=retention)
        is_final = is_final or task.attempt >= self.settings.max_attempts
        if is_final:
            _log.info("%s in attempt %d, failed", failure.code, task.attempt)
            return lambda task, now: task.failed(now, failure, retention=retention)
        seconds = max(pause or 0, self._backoff(task.attempt))
        _log.info("%s in attempt %d, again in %.0f s", failure.code, task.attempt, seconds)
        return lambda task, now: task.retry(now, timedelta(seconds=seconds), failure)

    def _backoff(self, attempt: int) -> float:
        """Seconds before the next attempt: doubling, with up to half of it more by chance."""
        doubled = self.settings.retry_base * 2.0 ** (attempt - 1)
        return doubled * random.uniform(1, 1.5)  # noqa: S311
