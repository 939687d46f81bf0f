"""The errors of actors."""


class MailError(Exception):
    """Raised when a mail was not taken. `is_permanent`: the recipient's server never will."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
