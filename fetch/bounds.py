"""What one download may take: time, speed and size, watched at every wait on the network."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from fetch.errors import FetchCancelledError, FetchError
from settings import Settings
from tasks.failure import FailureCode

# The longest single wait on a socket: how soon a cancelled download notices.
SLICE_SECONDS = 0.5
# How often a download under way asks whether it may go on.
CHECK_SECONDS = 0.1
# Over how many seconds of waiting for an origin its speed is measured.
MIN_SPEED_WINDOW = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's limits of one download, in seconds and bytes."""

    max_bytes: int
    max_redirects: int
    connect_timeout: float
    read_timeout: float
    deadline: float
    min_speed: float  # bytes per second, over each window
    min_speed_window: float = MIN_SPEED_WINDOW

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            max_bytes=settings.max_bytes,
            max_redirects=settings.max_redirects,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            deadline=settings.download_deadline,
            min_speed=settings.min_speed,
        )


class Bounds:
    """The limits of one download under way, whatever number of connections it takes.

    The sockets themselves ask after every wait, so nothing that an origin does outlasts the
    limits, and no watchdog closes a socket in a way that looks like the end of a body.
    """

    def __init__(self, limits: Limits, is_cancelled: Callable[[], bool]) -> None:
        self.limits = limits
        self._is_cancelled = is_cancelled
        self._deadline = time.monotonic() + limits.deadline
        self._check_at = 0.0
        self.begin_answer()

    def begin_answer(self) -> None:
        """Measure the speed of an answer's head. It may take READ_TIMEOUT longer than a window."""
        self._begin_window(waited=-self.limits.read_timeout)
        self._patience = self.limits.read_timeout

    def expect_soon(self) -> None:
        """Limit the wait for the next bytes, on a kept connection, to that for a new one.

        If its path has gone silent, there is time left to ask on a new connection.
        """
        self._patience = min(self.limits.connect_timeout, self.limits.read_timeout)

    def begin_body(self) -> None:
        """Measure the speed of a body from its first byte, which only READ_TIMEOUT bounds."""
        self._is_first_byte_due = True

    def _begin_window(self, waited: float = 0.0) -> None:
        self._waited = waited
        self._received = 0
        self._is_first_byte_due = False

    def check(self) -> None:
        """Raises FetchCancelledError, or FetchError when the download's time is over."""
        if time.monotonic() > self._deadline:
            raise FetchError(
                FailureCode.DEADLINE,
                f"The download took longer than {self.limits.deadline:g} seconds.",
            )
        if self._is_cancelled():
            raise FetchCancelledError

    def wait(
        self,
        operation: Callable[[], Result],
        seconds: float,
        on_timeout: Callable[[], FetchError],
    ) -> Result:
        """Repeat an operation that raises TimeoutError after a slice, until it has a result.

        Raises `on_timeout()` after `seconds`, and what `check` raises at any time.
        """
        give_up_at = time.monotonic() + seconds
        while True:
            try:
                result = operation()
            except TimeoutError:
                self.check()
                if time.monotonic() >= give_up_at:
                    raise on_timeout() from None
            else:
                self.check()
                return result

    def receive(self, operation: Callable[[], int], on_timeout: Callable[[], FetchError]) -> int:
        """How many bytes the operation has received, after waiting for it.

        Raises FetchError when the origin is slower than it may be. Only the time spent waiting
        counts, so the origin isn't blamed for ours.
        """
        began = time.monotonic()
        try:
            size = operation()
        except TimeoutError:
            left = self._patience - (time.monotonic() - began)
            size = self.wait(operation, left, on_timeout)
        self._patience = self.limits.read_timeout
        now = time.monotonic()
        if now > self._check_at:
            self.check()
            self._check_at = now + CHECK_SECONDS
        if self._is_first_byte_due:
            self._begin_window()
            return size
        self._waited += now - began
        self._received += size
        if self._waited >= self.limits.min_speed_window:
            if self._received < self.limits.min_speed * self._waited:
                raise FetchError(
                    FailureCode.TOO_SLOW,
                    f"The server sent less than {self.limits.min_speed:g} bytes per second"
                    f" for {self.limits.min_speed_window:g} seconds.",
                )
            self._begin_window()
        return size

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, unless `check` raises."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, SLICE_SECONDS))
