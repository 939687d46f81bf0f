"""What an attempt at a step came to."""

from dataclasses import dataclass
from datetime import timedelta

from tasks.digests import Digest
from tasks.failure import Failure


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The step is over. `digest` is the result of a computation."""

    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The step is over, and no further attempt is made.

    `failure` is the reason that users see. Without `allow_deliveries` the steps that follow are
    given up as well.
    """

    failure: Failure | None = None
    allow_deliveries: bool = True


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The attempt failed, and another one begins after the pause."""

    pause: timedelta
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Delayed:
    """A limit holds the step back for the length of the pause. That was not an attempt."""

    pause: timedelta


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The worker stops: another one repeats the attempt, which does not count."""


Outcome = Succeeded | Failed | RetryLater | Delayed | GivenBack
