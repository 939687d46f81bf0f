"""The clocks of the stores: one for all processes that share a server, or a file."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.errors import StoreUnavailableError

REFRESH_SECONDS = 60
RETRY_SECONDS = 5

SECOND = 1_000_000_000  # in nanoseconds
MARK_INTERVAL = 60 * SECOND  # after a restart of the machine the clock may be behind by as much
STEP = SECOND // 4  # by which the clock is slowed down; a smaller difference is not shared
SLOWDOWN = 20  # a clock that is ahead loses one second in as many


def _monotonic_nanos() -> int:
    """Nanoseconds that also pass while the machine is suspended, where it can tell (Linux)."""
    boot_time: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boot_time is None else time.clock_gettime_ns(boot_time)


def _monotonic() -> float:
    return _monotonic_nanos() / SECOND


@dataclass(frozen=True, slots=True)
class ClockMark:
    """What the processes of a machine share about their clock, in nanoseconds since 1970.

    `zero` is its time when the monotonic clock was 0, `latest` its time when the mark was made.
    """

    zero: int
    latest: int


class MachineClock:
    """The clock of all processes on a machine that share a mark. It does not jump back.

    When the machine's clock is set forward, this one follows. When the machine's clock is set
    back, this one only slows down until both agree, so that pauses and leases keep their length.
    """

    def __init__(self) -> None:
        self._zero = 0
        self.agree(None)

    def now(self) -> datetime:
        """In whole milliseconds, aware UTC."""
        wall, monotonic = _read_both()
        self._zero = max(self._zero, wall - monotonic)
        millis = (self._zero + monotonic) // 1_000_000
        whole = datetime.fromtimestamp(millis // 1000, UTC)
        return whole.replace(microsecond=millis % 1000 * 1000)

    def agree(self, mark: ClockMark | None) -> ClockMark | None:
        """Set this clock by the shared mark. Returns the mark to share instead, if it is time."""
        wall, monotonic = _read_both()
        machine_zero = wall - monotonic
        if mark is None:
            self._zero = max(self._zero, machine_zero)
            return ClockMark(self._zero, self._zero + monotonic)
        # The latter is more if the machine has been restarted with a wrong clock.
        now = max(mark.zero + monotonic, mark.latest)
        elapsed = now - mark.latest
        slowed = now - min(max(now - wall, 0), elapsed // SLOWDOWN, STEP)
        zero = max(machine_zero, slowed - monotonic)
        if abs(zero - mark.zero) < STEP and elapsed < MARK_INTERVAL:
            self._zero = max(machine_zero, mark.zero)
            return None
        self._zero = zero
        return ClockMark(zero, zero + monotonic)


def _read_both() -> tuple[int, int]:
    """The wall clock and the monotonic one; a delay between the two must not add time."""
    wall = time.time_ns()
    return wall, _monotonic_nanos()


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
