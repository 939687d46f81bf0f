"""Logs when a server becomes unreachable, when it refuses access, and when it recovers."""

import logging
import math
import threading
import time

# Success must last this long, or a server that reads but cannot write would flap.
QUIET_SECONDS = 2.0
# After a refusal it must last longer than the pause between two uses of the refused right.
REFUSAL_QUIET_SECONDS = 15.0
REPEAT_SECONDS = 60.0  # how often a refusal is logged while it lasts


class Availability:
    """Whether a server is available to this process. Callers report how each call went."""

    def __init__(self, what: str, log: logging.Logger) -> None:
        self._what = what
        self._log = log
        self._lock = threading.Lock()
        self._failed_at = 0.0
        self._quiet_seconds = QUIET_SECONDS
        self._repeat_at = -math.inf
        self.is_down = False

    def failed(self, reason: str, *, remedy: str | None = None) -> None:
        """Report a failed call. The first one is logged.

        `remedy` is for a server that answers, but refuses access. It says what to check, and is
        logged as an error once a minute while the refusal lasts.
        """
        with self._lock:
            now = self._failed_at = time.monotonic()
            self._quiet_seconds = REFUSAL_QUIET_SECONDS if remedy else QUIET_SECONDS
            was_down, self.is_down = self.is_down, True
            if was_down and not remedy:
                return
            if remedy and now < self._repeat_at:
                return
            if remedy:
                self._repeat_at = now + REPEAT_SECONDS
        if remedy:
            self._log.error("%s refuses access: %s. %s", self._what, reason, remedy)
        else:
            self._log.warning("%s is unreachable: %s", self._what, reason)

    def succeeded(self) -> None:
        """Report a successful call. It costs nothing while the server is available."""
        if not self.is_down:
            return
        with self._lock:
            # Another thread may have been first.
            if not self.is_down or time.monotonic() - self._failed_at < self._quiet_seconds:  # type: ignore[redundant-expr]
                return
            self.is_down = False
            self._repeat_at = -math.inf
        self._log.info("%s has recovered", self._what)
