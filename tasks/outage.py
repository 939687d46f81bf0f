"""Something outside that goes away and comes back: one line in the log each time."""

import logging
import threading
import time

# Success must last so long, or a server that reads and cannot write would come and go.
QUIET_SECONDS = 2.0


class Outage:
    """What this process knows of a server: whoever talks to it says how that went."""

    def __init__(self, what: str, log: logging.Logger) -> None:
        self._what = what
        self._log = log
        self._lock = threading.Lock()
        self._failed_at = 0.0
        self.is_on = False

    def begin(self, reason: str) -> None:
        """A call failed: the first one is told of."""
        with self._lock:
            self._failed_at = time.monotonic()
            if self.is_on:
                return
            self.is_on = True
        self._log.warning("%s is out of reach: %s", self._what, reason)

    def end(self) -> None:
        """A call succeeded. It costs nothing where there is no outage."""
        if not self.is_on:
            return
        with self._lock:
            if not self.is_on or time.monotonic() - self._failed_at < QUIET_SECONDS:
                return
            self.is_on = False
        self._log.info("%s is back", self._what)
