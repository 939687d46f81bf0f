"""Writes mails to files, for a machine without a mail server."""

import logging
import os
from email.message import EmailMessage
from pathlib import Path

from actors.errors import MailError

_log = logging.getLogger(__name__)


class FileMailer:
    """Writes each mail as an .eml file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage) -> None:
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


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
