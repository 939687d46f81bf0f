"""The step that downloads a file and computes its digest, by means of fetch/."""

import logging
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from fetch.errors import FetchCancelledError, FetchError
from settings import Settings
from tasks.failure import FailureCode
from tasks.outcome import Failed, GivenBack, Outcome, RetryLater, Succeeded
from tasks.task import Task
from worker.leases import Claim
from worker.resources import Fetch, Resources

# The answers whose Retry-After is about the server and not about the file.
OVERLOADED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComputeMD5:
    """What an attempt needs: the same for every task of a worker."""

    fetch: Fetch
    settings: Settings
    stopping: threading.Event

    def attempt(self, claim: Claim) -> Outcome:
        """Download the file once."""
        return self.download(claim, self.stopping.is_set, lambda _rest: None)

    def download(
        self,
        claim: Claim,
        is_stopping: Callable[[], bool],
        leave_alone: Callable[[timedelta], None],
    ) -> Outcome:
        """Download the file once. It is given back once `is_stopping()` is true.

        `leave_alone` is called with the rest that the host asks for before the download resumes.
        """
        task = claim.task
        seconds_left = self._seconds_left(task)
        if seconds_left <= 0:
            return self._failed(task, self._budget_used())

        def is_cancelled() -> bool:
            return claim.is_lost or is_stopping()

        def on_break(error: FetchError) -> None:
            if rest := _rest_after(error):
                leave_alone(rest)

        try:
            digest = self.fetch(
                task.url, task.algorithms, claim.progress, is_cancelled, seconds_left, on_break
            )
        except FetchCancelledError:
            _log.info("given back in attempt %d", task.attempt)
            return GivenBack()
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
        # A batch has a line of its own.
        level = logging.DEBUG if task.member else logging.INFO
        _log.log(level, "done, %d bytes from %s", digest.size, host)
        return Succeeded(digest)

    def _failed(self, task: Task, error: FetchError) -> Outcome:
        """Return what a failed attempt means: another attempt, or the end of the task."""
        failure = error.failure
        rest = _rest_after(error)
        if error.is_permanent or task.attempt >= self.settings.max_attempts:
            _log.info("%s in attempt %d, failed", failure.code, task.attempt)
            # Otherwise mails to strangers could be triggered without any server to download from.
            allow_deliveries = task.attempt > 1 or not error.is_refused_url
            return Failed(failure, allow_deliveries, rest)
        seconds = max(error.retry_after or 0, self._backoff(task.attempt))
        _log.info("%s in attempt %d, again in %.0f s", failure.code, task.attempt, seconds)
        return RetryLater(timedelta(seconds=seconds), failure, rest)

    def _seconds_left(self, task: Task) -> float:
        """Return how many seconds all further attempts of a task may take together."""
        budget = self.settings.download_budget
        return budget - task.seconds_used if budget else math.inf

    def _budget_used(self) -> FetchError:
        return FetchError(
            FailureCode.DEADLINE,
            f"The attempts took longer than {self.settings.download_budget:g} seconds together.",
        )

    def _backoff(self, attempt: int) -> float:
        """Return the seconds before the next attempt. They double, with up to half as jitter."""
        doubled = self.settings.retry_base * 2.0 ** (attempt - 1)
        return doubled * random.uniform(1, 1.5)  # noqa: S311


def _rest_after(error: FetchError) -> timedelta | None:
    """Return for how long the host of a task asks to be left alone."""
    is_overloaded = error.failure.http_status in OVERLOADED and not error.is_of_other_host
    return timedelta(seconds=error.retry_after) if is_overloaded and error.retry_after else None


def build(resources: Resources) -> ComputeMD5:
    """Return the step of this worker."""
    return ComputeMD5(resources.fetch, resources.settings, resources.stopping)
