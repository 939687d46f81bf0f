"""How tests wait: for a fact, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_for(fact: Callable[[], Result], seconds: float = 30) -> Result:
    """The first true result of `fact()`. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := fact()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {fact}"
        time.sleep(0.02)
    return result
