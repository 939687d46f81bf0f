"""What the mailers have in common, and the choice between them."""

from email.message import EmailMessage
from typing import Protocol

from actors.mail_files import FileMailer
from actors.smtp import SMTPMailer
from settings import Settings


class Mailer(Protocol):
    """Something that takes mails."""

    def send(self, message: EmailMessage) -> None:
        """Return when somebody else is responsible for the mail. Raises MailError."""


def open_mailer(settings: Settings) -> Mailer:
    """Return the mailer that the settings name: an SMTP server, or files without SMTP_URL."""
    if settings.smtp_url is not None:
        return SMTPMailer(settings.smtp_url)
    return FileMailer(settings.data_dir / "mail")
