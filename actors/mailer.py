"""Builds the mail about a task's end, and sends it or writes it to a file."""

import logging
import os
import smtplib
import ssl
import threading
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from settings import Settings
from tasks.outage import Outage
from tasks.task import Status, Task

TIMEOUT_SECONDS = 30.0
# A server that has fallen silent must not take all threads of a worker: some are for downloads.
MAX_SESSIONS = 4
SESSION_WAIT_SECONDS = 3.0
MAX_LINE = 998  # RFC 5322 § 2.1.1: up to there a link stays in one piece
PERMANENT_CODE = 500  # and above, RFC 5321 § 4.2.1

_log = logging.getLogger(__name__)


class MailError(Exception):
    """Raised when a mail was not taken. `is_permanent`: the recipient's server never will."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class Mailer(Protocol):
    """Something that takes mails."""

    def send(self, message: EmailMessage) -> None:
        """Return when somebody else is responsible for the mail. Raises MailError."""


def open_mailer(settings: Settings) -> Mailer:
    """The mailer that the settings name: an SMTP server, or files without SMTP_URL."""
    if settings.smtp_url is not None:
        return SMTPMailer(settings.smtp_url)
    return FileMailer(settings.data_dir / "mail")


def build_message(task: Task, settings: Settings) -> EmailMessage:
    """The mail for the owner of a task that has ended: plain text, the same at every try."""
    assert task.email is not None
    assert task.finished_at is not None
    name, sender = parseaddr(settings.mail_from)
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit", max_line_length=MAX_LINE))
    message["From"] = Address(name, addr_spec=sender)
    message["To"] = Address(addr_spec=task.email)
    message["Subject"] = f"MD5 {'computed' if task.status is Status.DONE else 'not computed'}"
    message["Date"] = format_datetime(task.finished_at)
    message["Message-ID"] = f"<{task.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's autoresponder shall answer
    message.set_content("\n".join(_lines(task, settings)) + "\n")
    return message


def _lines(task: Task, settings: Settings) -> list[str]:
    lines = [f"URL:       {task.url}"]
    if task.digest is not None:
        lines += [f"MD5:       {task.digest.md5}", f"Size:      {task.digest.size} bytes"]
    if task.is_verified is not None:
        verdict = "it is the one you expected" if task.is_verified else "NOT the one you expected"
        lines.append(f"Verdict:   {verdict}")
    if task.failure is not None:
        lines.append(f"Failed:    {task.failure.message} ({task.failure.code})")
    lines += [f"Submitted: {_time(task.submitted_at)}", f"Finished:  {_time(task.finished_at)}"]
    if settings.public_url is not None:
        lines.append(f"Details:   {settings.public_url.rstrip('/')}/?id={task.id}")
    return lines


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


class FileMailer:
    """Writes each mail as an .eml file, for a machine without a mail server."""

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


class SMTPMailer:
    """Hands mails to a server: `smtp://` with STARTTLS where it is offered, or `smtps://`."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._tls = ssl.create_default_context()
        self._sessions = threading.BoundedSemaphore(MAX_SESSIONS)
        self._outage = Outage("the mail server", _log)

    def send(self, message: EmailMessage) -> None:
        if not self._sessions.acquire(timeout=SESSION_WAIT_SECONDS):
            raise MailError("the mail server is slow, and enough other mails are being sent")
        try:
            self._send(message)
        finally:
            self._sessions.release()

    def _send(self, message: EmailMessage) -> None:
        try:
            smtp = self._log_in()
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            self._outage.begin(_describe(error))
            # Whatever the code: a login that fails is ours to mend, not the recipient's fault.
            raise MailError(f"no session with the mail server: {_describe(error)}") from None
        self._outage.end()
        try:
            smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            (code, _), *_ = error.recipients.values()
            raise MailError(
                f"the recipient was refused with {code}", is_permanent=code >= PERMANENT_CODE
            ) from None
        except smtplib.SMTPSenderRefused as error:
            raise MailError(f"our sender was refused with {error.smtp_code}") from None
        except smtplib.SMTPDataError as error:
            raise MailError(
                f"the mail was refused with {error.smtp_code}",
                is_permanent=error.smtp_code >= PERMANENT_CODE,
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"the session broke off: {_describe(error)}") from None
        finally:
            with suppress(OSError, smtplib.SMTPException):
                smtp.putcmd("quit")  # nothing that we would wait for comes after the 250
            smtp.close()

    def _log_in(self) -> smtplib.SMTP:
        host, port = self._url.hostname or "localhost", self._url.port or 0
        smtp: smtplib.SMTP
        if self._url.scheme == "smtps":
            smtp = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=self._tls)
        else:
            smtp = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        try:
            smtp.ehlo_or_helo_if_needed()
            if self._url.scheme == "smtp" and smtp.has_extn("starttls"):
                smtp.starttls(context=self._tls)
            if self._url.username:
                smtp.login(unquote(self._url.username), unquote(self._url.password or ""))
        except BaseException:
            smtp.close()
            raise
        return smtp


def _describe(error: Exception) -> str:
    code = getattr(error, "smtp_code", "")
    return f"{type(error).__name__} {code}".strip()
