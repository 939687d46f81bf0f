"""The errors of this package."""


class TaskError(Exception):
    """The root of the errors of this package."""


class InvalidURLError(TaskError):
    """Raised when a text is not a URL that we would fetch. The message names the rule."""


class InvalidAddressError(TaskError):
    """Raised when a text is not an email address that we would write to. The message says why."""


class IllegalTransitionError(TaskError):
    """Raised when a task is asked for a change that its status does not allow."""


class DuplicateTaskError(TaskError):
    """Raised when a task is submitted whose id is taken."""


class StoreUnavailableError(TaskError):
    """Raised when the store cannot be reached or cannot write; trying again later may help."""


class NewerTaskError(TaskError):
    """Raised when a task was written by a newer version, whose documents this one cannot read."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id} was written by a newer version; it is left alone.")
