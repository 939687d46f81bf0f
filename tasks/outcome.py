"""What an attempt at a step came to."""

from dataclasses import dataclass
from datetime import timedelta

from tasks.batch import Tally
from tasks.digests import Digest
from tasks.failure import Failure


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The step is over. `digest` is the result of a computation, `tally` that of a batch.

    Without `allow_deliveries` the steps that follow are given up.
    """

    digest: Digest | None = None
    tally: Tally | None = None
    allow_deliveries: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """The step is over, and no further attempt is made.

    `failure` is the reason that users see. Without `allow_deliveries` the steps that follow are
    given up as well. `rest` is how long the origin asked to be left alone.
    """

    failure: Failure | None = None
    allow_deliveries: bool = True
    rest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The attempt failed, and another one begins after the pause.

    `rest` is how long the origin asked to be left alone.
    """

    pause: timedelta
    failure: Failure | None = None
    rest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Delayed:
    """A limit holds the step back for the length of the pause. That was not an attempt."""

    pause: timedelta


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The step goes on after the pause, in any worker. That was not an attempt.

    Without a pause its message goes to the end of the queue. `tally` is that of a batch, and
    `is_active` says whether a member of it is being downloaded.
    """

    pause: timedelta | None = None
    tally: Tally | None = None
    is_active: bool = False


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The attempt was not started or not finished. It does not count."""


Outcome = Succeeded | Failed | RetryLater | Delayed | Unfinished | GivenBack
