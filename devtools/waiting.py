"""How tests wait: for a fact, with a deadline that only a failure reaches."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

Result = TypeVar("Result")

# Ever longer pauses: tests that wait for seconds leave the machine to those that work.
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.02, 1.1, 0.2
PATIENCE = 120.0  # seconds: what takes one on an idle machine may take a minute on a busy one


def wait_for(
    fact: Callable[[], Result], seconds: float = PATIENCE, *, longest_pause: float = LONGEST_PAUSE
) -> Result:
    """Return the first true result of `fact()`. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while not (result := fact()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {fact}"
        time.sleep(pause)
        pause = min(GROWTH * pause, longest_pause)
    return result


def wait_for_a_fresh_minute() -> None:
    """Return early in a minute, so that what follows is in one window of a limit per minute."""
    wait_for(lambda: datetime.now(UTC).second < 45, 20)  # noqa: PLR2004
