"""A mail server of the tests' own."""

import asyncio
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.servers.process import free_port


class Inbox:
    """An SMTP server that keeps what it is sent.

    `reply` is its answer to each mail's data, given once `may_answer` is set.
    """

    def __init__(self) -> None:
        self.reply = "250 OK"
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.sessions = 0
        self.waiting = 0  # mails without their answer yet
        self.mails: list[bytes] = []
        self.recipients: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self._controller.start()
        self.url = f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.sessions += 1
        self.waiting += 1
        await asyncio.to_thread(self.may_answer.wait)
        self.waiting -= 1
        if self.reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.recipients += envelope.rcpt_tos
            self.mails.append(envelope.content)
        return self.reply

    def mails_about(self, url: str) -> list[bytes]:
        return [mail for mail in self.mails if f" {url}\r\n".encode() in mail]

    def stop(self) -> None:
        self.may_answer.set()
        self._controller.stop()
