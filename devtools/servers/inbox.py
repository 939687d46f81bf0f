"""A mail server of the tests' own."""

import asyncio
import ssl
import threading
import time
from typing import Any
from weakref import WeakSet

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from devtools.servers.process import free_port
from devtools.waiting import PATIENCE

TURNS = 5  # of a loop, in which a connection is accepted or closed


class _Controller(Controller):
    """Remembers its sessions, since it does not close their connections when it stops."""

    def __init__(self, handler: object, **options: Any) -> None:
        self._sessions: WeakSet[SMTP] = WeakSet()
        super().__init__(handler, ready_timeout=PATIENCE, **options)

    def factory(self) -> SMTP:
        session: SMTP = super().factory()  # type: ignore[no-untyped-call]
        self._sessions.add(session)
        return session

    def stop(self, no_assert: bool = False) -> None:  # noqa: FBT001, FBT002  aiosmtpd's signature
        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(self._close_connections(), self.loop).result()
        super().stop(no_assert)

    async def _close_connections(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        for listener in self.server.sockets:
            self.loop.remove_reader(listener)  # accepts no more, and spoils no accept under way
        await _let_others_run()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # so that no mail is kept whose client learns nothing of it
        await _let_others_run()
        for session in list(self._sessions):
            if isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()
        await _let_others_run()


async def _let_others_run() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Inbox:
    """An SMTP server that keeps what it is sent; it can be stopped and started again.

    `replies` are its answers to MAIL, RCPT and DATA; it hangs up instead of an empty one. A
    mail's data are answered once `may_answer` is set, and a login if it `knows_us`. It answers a
    RCPT once `may_accept` is set, after `delay` seconds, and never one that begins with `silent`.
    It answers the data of a mail `filtering` seconds after it has kept it, even if the client is
    gone, and a RSET if it `answers_resets`.
    """

    def __init__(self) -> None:
        self.replies = dict.fromkeys(("MAIL", "RCPT", "DATA"), "250 OK")
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.knows_us = False
        self.delay = 0.0
        self.filtering = 0.0
        self.answers_resets = True
        self.logins = 0
        self.silences = 0
        self.asked = 0  # how many RCPTs
        self.may_accept = threading.Event()
        self.may_accept.set()
        self.sessions = 0
        self.waiting = 0  # mails without their answer yet
        self.mails: list[bytes] = []
        self.arrivals: list[float] = []  # of each mail, by the monotonic clock
        self.recipients: list[str] = []
        self.port = free_port()
        self.url = f"smtp://127.0.0.1:{self.port}"
        self.start()

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, again; with TLS it offers STARTTLS."""
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=tls,
            auth_require_tls=False,
            authenticator=self._log_in,
        )
        self._controller.start()

    def _log_in(self, *_: object) -> AuthResult:
        self.logins += 1
        return AuthResult(success=self.knows_us, handled=False)

    async def handle_MAIL(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        envelope.mail_from = address
        return self.replies["MAIL"]

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("silent"):
            self.silences += 1
            await asyncio.Event().wait()
        self.asked += 1
        if not self.may_accept.is_set():  # or it would wait for a thread behind the data of mails
            await asyncio.to_thread(self.may_accept.wait)
        await asyncio.sleep(self.delay)
        envelope.rcpt_tos.append(address)
        return self.replies["RCPT"]

    async def handle_RSET(  # noqa: N802
        self, _server: SMTP, _session: Session, _envelope: Envelope
    ) -> str:
        if not self.answers_resets:
            await asyncio.Event().wait()
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        self.sessions += 1
        self.waiting += 1
        await asyncio.to_thread(self.may_answer.wait)
        self.waiting -= 1
        reply = self.replies["DATA"]
        if reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.recipients += envelope.rcpt_tos
            self.mails.append(envelope.content)
            self.arrivals.append(time.monotonic())
        await asyncio.sleep(self.filtering)
        if not reply:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return reply

    def stop(self) -> None:
        self.may_accept.set()
        self.may_answer.set()
        self._controller.stop(no_assert=True)  # it may be stopped already
