"""SMTP sessions that end in time, however silent or slow the server is."""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

CONNECT_SECONDS = 5.0  # a server's kernel accepts a connection, however busy the server is
REPLY_SECONDS = 30.0  # between two bytes of the server
SESSION_SECONDS = 300.0  # from the connection to the end of the mail
# A server may deliver a mail even if the client no longer waits for the reply: RFC 5321
# § 4.5.3.2.6.
HANDED_OVER_SECONDS = 600.0  # from the end of the mail to its reply
# A server may be this long silent while other mails wait for a thread.
CROWDED_REPLY_SECONDS = 2.0
CROWDED_HANDED_OVER_SECONDS = 60.0
# One session in four never gives way. Otherwise a server that is slow in every session, for
# example by a delayed greeting, would get no mail at all while many wait.
PATIENT_SHARE = 4
CHECK_SECONDS = 0.25
START_OF_MAIL = 354  # the reply to DATA, after which the mail is sent


class SessionWatch:
    """Ends sessions that last too long, and the longest silent one while all threads are busy."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._sessions: set[Session] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, session: "Session") -> None:
        with self._changed:
            self._sessions.add(session)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="smtp-watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, session: "Session") -> None:
        with self._changed:
            self._sessions.discard(session)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sessions)
                self._check(time.monotonic())
            time.sleep(CHECK_SECONDS)

    def _check(self, now: float) -> None:
        """End old sessions, and one silent session at most.

        One is enough: a single free thread sends many mails until the next check.
        """
        running = sorted(
            (each for each in self._sessions if each.end_reason is None),
            key=lambda each: each.began_at,
        )
        for session in running:
            if session.is_late(now):
                session.end("the session took too long")
        patient = max(1, self._threads // PATIENT_SHARE)
        silent = [each for each in running[patient:] if each.is_silent(now)]
        if silent and len(self._sessions) >= self._threads:
            longest = min(silent, key=lambda each: each.heard_at)
            longest.end("the mail server was silent while other mails waited")

    def end_all(self, reason: str) -> None:
        with self._changed:
            for session in self._sessions:
                session.end(reason)


class Session(smtplib.SMTP):
    """A session that its watch can end from another thread."""

    def __init__(
        self,
        host: str,
        port: int,
        watch: SessionWatch,
        tls: ssl.SSLContext | None = None,
        own_name: str | None = None,
    ) -> None:
        """Connect and read the greeting; over TLS from the first byte if there is a context.

        `own_name` introduces this machine; smtplib looks it up if it is None. Raises OSError,
        UnicodeError and smtplib.SMTPException.
        """
        self._watch = watch
        self._tls = tls
        self._handle: socket.socket | None = None  # a second descriptor, to end the connection by
        self.began_at = self.heard_at = time.monotonic()
        self._last_code: int | None = None
        self._handed_over_at: float | None = None  # the whole mail, until it is answered
        self.is_answered = False  # whether the server has taken or refused the mail
        self.end_reason: str | None = None  # why this side has ended the session
        self.before_data: Callable[[], None] | None = None  # may raise an error
        super().__init__(host, port, own_name, timeout=REPLY_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
        try:
            self._handle = connection.dup()
            self._watch.add(self)
            connection.settimeout(timeout)
            if self._tls is not None:
                return self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            self.close()
            raise
        return connection

    def data(self, msg: Any) -> tuple[int, bytes]:  # noqa: ANN401  smtplib's signature
        if self.before_data is not None:
            self.before_data()
        return super().data(msg)

    def getreply(self) -> tuple[int, bytes]:
        is_of_mail = self._last_code == START_OF_MAIL
        if is_of_mail:
            self._handed_over_at = time.monotonic()
            self._wait_for_replies(HANDED_OVER_SECONDS)
        reply = super().getreply()
        if is_of_mail:
            self._handed_over_at, self.is_answered = None, True
            self._wait_for_replies(REPLY_SECONDS)
        self._last_code = reply[0]
        self.heard_at = time.monotonic()
        return reply

    def _wait_for_replies(self, seconds: float) -> None:
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def is_late(self, now: float) -> bool:
        """Whether the session, or the reply to its mail, takes too long."""
        if self._handed_over_at is not None:
            return now - self._handed_over_at > HANDED_OVER_SECONDS
        return now - self.began_at > SESSION_SECONDS

    def is_silent(self, now: float) -> bool:
        """Whether the server has been silent for longer than others may wait."""
        is_handed_over = self._handed_over_at is not None
        most = CROWDED_HANDED_OVER_SECONDS if is_handed_over else CROWDED_REPLY_SECONDS
        return now - self.heard_at > most

    def end(self, reason: str) -> None:
        """Close the connection under the thread that waits for the server."""
        self.end_reason = reason
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        self._watch.remove(self)
        if self._handle is not None:
            self._handle.close()
            self._handle = None
