"""The actor that downloads and hashes: a thin shell around fetch/."""

import logging
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from fetch.errors import FetchCancelledError, FetchError
from settings import Settings
from tasks.digests import Digest
from tasks.failure import FailureCode
from tasks.task import Step, Task
from worker.leases import Change, Claim, LeaseKeeper

_log = logging.getLogger(__name__)

# Downloads a URL. Its arguments after the URL: a callable that takes the progress, one that
# returns whether the download is cancelled, and the seconds that it may take.
Fetch = Callable[[str, Callable[[int, int | None], None], Callable[[], bool], float], Digest]


@dataclass(frozen=True, slots=True)
class Md5Computer:
    """What an attempt needs: the same for every task of a worker."""

    leases: LeaseKeeper
    fetch: Fetch
    settings: Settings
    stopping: threading.Event

    def compute(self, task_id: str) -> Task | None:
        """Make one attempt at a task, unless another worker has claimed it.

        Returns the task as it was left, or None if there was nothing to do. Raises
        StoreUnavailableError if the worker stops while the store is unreachable.
        """
        return self.leases.attempt(task_id, Step.COMPUTE_MD5, self._attempt, self.stopping)

    def _attempt(self, claim: Claim) -> Change:
        """Download once, and return the change that the outcome means for the task."""
        task = claim.task
        retention = timedelta(seconds=self.settings.retention)
        seconds_left = self._seconds_left(task)

        def is_cancelled() -> bool:
            return claim.is_lost or self.stopping.is_set()

        if seconds_left <= 0:
            return self._failed(task, self._budget_used())
        try:
            digest = self.fetch(task.url, claim.progress, is_cancelled, seconds_left)
        except FetchCancelledError:
            _log.info("given back in attempt %d", task.attempt)
            return Task.released
        except FetchError as error:
            is_last = error.failure.code is FailureCode.DEADLINE or not error.is_permanent
            is_over = is_last and claim.seconds >= seconds_left
            return self._failed(task, self._budget_used() if is_over else error)
        except Exception:  # noqa: BLE001  the edge: whatever it is, the task must go on
            _log.exception("unexpected error")
            return self._failed(
                task, FetchError(FailureCode.INTERNAL_ERROR, "Something went wrong on our side.")
            )
        host = urlsplit(digest.final_url).hostname
        _log.info("done, %d bytes from %s", digest.size, host)
        return lambda task, now: task.done(now, digest, retention=retention)

    def _failed(self, task: Task, error: FetchError) -> Change:
        """Return the change that a failed attempt means: another attempt, or the task's end."""
        failure = error.failure
        if error.is_permanent or task.attempt >= self.settings.max_attempts:
            retention = timedelta(seconds=self.settings.retention)
            _log.info("%s in attempt %d, failed", failure.code, task.attempt)
            # Otherwise mails to strangers could be triggered without any server to download from.
            allow_mail = task.attempt > 1 or not error.is_refused_url
            return lambda task, now: task.failed(
                now, failure, retention=retention, allow_mail=allow_mail
            )
        seconds = max(error.retry_after or 0, self._backoff(task.attempt))
        _log.info("%s in attempt %d, again in %.0f s", failure.code, task.attempt, seconds)
        return lambda task, now: task.retry(now, timedelta(seconds=seconds), failure)

    def _seconds_left(self, task: Task) -> float:
        """Return how many seconds all further attempts of a task may take together."""
        budget = self.settings.download_budget
        return budget - task.seconds_used if budget else math.inf

    def _budget_used(self) -> FetchError:
        return FetchError(
            FailureCode.DEADLINE,
            f"The attempts took longer than {self.settings.download_budget:g} seconds together.",
            is_permanent=True,
        )

    def _backoff(self, attempt: int) -> float:
        """Return the seconds before the next attempt. They double, with up to half as jitter."""
        doubled = self.settings.retry_base * 2.0 ** (attempt - 1)
        return doubled * random.uniform(1, 1.5)  # noqa: S311
