"""Why a mail was not taken."""


class MailError(Exception):
    """Raised when a mail was not taken.

    `is_permanent`: the recipient's server never will. `is_ours`: our settings or our standing
    with the mail server are at fault, so an operator must act.
    """

    def __init__(self, message: str, *, is_permanent: bool = False, is_ours: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
        self.is_ours = is_ours
