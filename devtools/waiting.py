"""How tests wait: for a fact, with a deadline that only a failure reaches."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

PATIENCE = 120.0  # seconds: what takes one on an idle machine may take a minute on a busy one


def wait_for(fact: Callable[[], Result], seconds: float = PATIENCE) -> Result:
    """Return the first true result of `fact()`. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := fact()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {fact}"
        time.sleep(0.02)
    return result
