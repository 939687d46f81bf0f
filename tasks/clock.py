"""A server's time, asked for once a minute: the clock of all who share the server."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from tasks.errors import StoreUnavailableError

REFRESH_SECONDS = 60
RETRY_SECONDS = 5


def _monotonic() -> float:
    """Seconds that also pass while the machine is suspended, where it can tell (Linux)."""
    boot_time: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class ServerClock:
    """The local monotonic clock plus an offset. `ask` asks the server for its time, aware UTC."""

    def __init__(self, ask: Callable[[], datetime]) -> None:
        self._ask = ask
        self._refreshing = threading.Lock()
        self._epoch: datetime | None = None  # the server's time when the monotonic clock was 0
        self._refresh_at = 0.0

    def now(self) -> datetime:
        """In whole milliseconds. Raises StoreUnavailableError until `ask` has answered once."""
        if self._epoch is None:
            self._refresh()
        elif _monotonic() > self._refresh_at and self._refreshing.acquire(blocking=False):
            # One thread asks; the others have the old offset, which is still good.
            try:
                with suppress(StoreUnavailableError):
                    self._refresh()
            finally:
                self._refreshing.release()
        assert self._epoch is not None
        now = self._epoch + timedelta(seconds=_monotonic())
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _refresh(self) -> None:
        self._refresh_at = _monotonic() + RETRY_SECONDS
        server_time = self._ask()
        monotonic = _monotonic()
        self._epoch = server_time - timedelta(seconds=monotonic)
        self._refresh_at = monotonic + REFRESH_SECONDS
