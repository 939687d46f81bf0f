"""Sends mails over SMTP."""

import logging
import smtplib
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from actors.errors import MailError
from tasks.outage import Outage

TIMEOUT_SECONDS = 30.0
# A server that has fallen silent must not take all threads of a worker: some are for downloads.
MAX_SESSIONS = 4
SESSION_WAIT_SECONDS = 3.0
PERMANENT_CODE = 500  # and above, RFC 5321 § 4.2.1

_log = logging.getLogger(__name__)


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
