"""What takes mails: an SMTP server, or files on a machine without one."""

import logging
import os
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

from settings import Settings
from worker.mail.errors import MailError
from worker.mail.smtp import SMTPMailer

_log = logging.getLogger(__name__)


class Mailer(Protocol):
    """Something that takes mails."""

    def send(self, message: EmailMessage, confirm: Callable[[], None] | None = None) -> None:
        """Return when another server is responsible for the mail. Raises MailError.

        `confirm` is called just before the content of the mail is sent. If it raises an error, the
        mail is not sent.
        """

    def interrupt(self) -> None:
        """End every `send` that waits for a server: it raises MailError."""


def open_mailer(settings: Settings, threads: int) -> Mailer:
    """Return the mailer that the settings name: an SMTP server, or files without SMTP_URL.

    `threads` is how many threads send mails at once.
    """
    if settings.smtp_url is not None:
        return SMTPMailer(settings.smtp_url, threads=threads, ca_bundle=settings.ca_bundle)
    return FileMailer(settings.data_dir / "mail")


class FileMailer:
    """Writes each mail as an .eml file, for a machine without a mail server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage, confirm: Callable[[], None] | None = None) -> None:
        if confirm is not None:
            confirm()
        path = self._folder / f"{message['Message-ID'].strip('<>').partition('@')[0]}.eml"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with open(part, "wb", opener=_open_private) as file:
                file.write(message.as_bytes())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise MailError(f"cannot write {path}: {error.strerror}") from None
        _log.info("no SMTP_URL: mail written to %s", path)

    def interrupt(self) -> None:
        """Do nothing: no file is waited for."""


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
