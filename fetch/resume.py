"""How long a download waits before it resumes, and when it gives up."""

import time

from fetch.errors import FetchError
from tasks.failure import FailureCode

FIRST_PAUSE = 1.0  # the first resume follows a break at once
GROWTH = 3.0
LONGEST_PAUSE = 60.0

# An outage is waited for as long as starting again would take, within these bounds.
MIN_PATIENCE = 4.0
MAX_PATIENCE = 1800.0
ASSUMED_SPEED = 2**20  # bytes per second at which the hashed bytes would come again

# An origin that sends a byte per connection makes no progress.
MIN_PROGRESS_BYTES = 64 * 1024
MAX_RESTARTS = 3


def patience(size: int, seconds: float) -> float:
    """Return how long an outage is waited for once `size` bytes are hashed, after `seconds`."""
    return min(max(MIN_PATIENCE, size / ASSUMED_SPEED, seconds), MAX_PATIENCE)


def next_pause(tries: int, left: float, retry_after: float | None = None) -> float | None:
    """Return the seconds to wait before the next resume, or None to give up.

    `tries` resumes have failed since the last progress, and `left` seconds of patience remain. A
    pause that the origin asks for is honoured up to `left` or a minute, whichever is longer.
    """
    if left <= 0:
        return None
    pause = min(FIRST_PAUSE * GROWTH ** (tries - 1), LONGEST_PAUSE, left) if tries else 0.0
    if retry_after is None:
        return pause
    return max(pause, retry_after) if retry_after <= max(left, LONGEST_PAUSE) else None


class Patience:
    """The patience of one download. Progress restores it."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._size = 0
        self._seconds = 0.0  # from the beginning to the last progress
        self._tries = 0
        self._waited = 0.0
        self._restarts = 0

    def note_restart(self) -> None:
        """Note that the hashed bytes are discarded, which is no progress."""
        self._restarts += 1

    def pause_after(self, error: FetchError, size: int) -> float | None:
        """Return the seconds to wait after a break at `size` bytes, or None to give up.

        A slow origin uses the patience up even while it sends: it must not last for ever.
        """
        code = error.failure.code
        is_slow = code is FailureCode.TOO_SLOW
        if size >= self._size + MIN_PROGRESS_BYTES:
            self._size = size
            self._seconds = time.monotonic() - self._began
            if not is_slow:
                self._tries, self._waited = 0, 0.0
        if is_slow:
            self._waited += LONGEST_PAUSE
        if code is FailureCode.CHANGED_DURING_DOWNLOAD or self._restarts > MAX_RESTARTS:
            return None
        left = patience(size, self._seconds) - self._waited
        pause = next_pause(self._tries, left, error.retry_after)
        self._tries += 1
        self._waited += pause or 0.0
        return pause
