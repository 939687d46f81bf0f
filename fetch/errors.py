"""How a download ends when it does not end with a digest."""

from tasks.failure import Failure, FailureCode


class FetchError(Exception):
    """Raised when a download fails. `is_permanent`: trying again would give the same.

    `retry_after` is the pause in seconds that the origin asked for. `is_refused_url`: the task's
    own URL was refused before any connection. The message is for the task's owner.
    """

    def __init__(
        self,
        code: FailureCode,
        message: str,
        *,
        is_permanent: bool = False,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, http_status)
        self.is_permanent = is_permanent
        self.retry_after = retry_after
        self.is_refused_url = False


class FetchCancelledError(Exception):
    """Raised when a download is called off: the worker stops, or its claim is lost."""
