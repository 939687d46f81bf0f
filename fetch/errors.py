"""How a download ends when it does not end with a digest."""

from tasks.failure import Failure, FailureCode


class FetchError(Exception):
    """Raised when a download fails. `is_permanent`: another attempt would fail in the same way.

    `retry_after` is the pause in seconds that the origin asked for. `is_of_other_host`: a redirect
    led to that origin. `is_refused_url`: the task's own URL was refused before any connection. The
    message is for the task's owner.
    """

    def __init__(
        self,
        code: FailureCode,
        message: str,
        *,
        is_permanent: bool | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Give `is_permanent` where it depends on the case. Otherwise the code decides."""
        super().__init__(message)
        self.failure = Failure(code, message, http_status)
        self.is_permanent = code.is_permanent if is_permanent is None else is_permanent
        self.retry_after = retry_after
        self.is_of_other_host = False
        self.is_refused_url = False


class FetchCancelledError(Exception):
    """Raised when a download is called off: the worker stops, or its claim is lost."""
