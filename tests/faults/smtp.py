"""The mail server is closed, silent, busy or picky."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import trustme

from devtools.servers.inbox import Inbox

Fault = Callable[[Inbox], AbstractContextManager[None]]


@contextmanager
def closed(inbox: Inbox) -> Iterator[None]:
    inbox.stop()
    try:
        yield
    finally:
        inbox.start()


@contextmanager
def silent(inbox: Inbox) -> Iterator[None]:
    """Connections wait for somebody to accept them, until the listener is closed."""
    with closed(inbox), socket.create_server(("127.0.0.1", inbox.port)):
        yield


@contextmanager
def mute(inbox: Inbox) -> Iterator[None]:
    """It takes the mails' data, and then says nothing more."""
    inbox.may_answer.clear()
    try:
        yield
    finally:
        inbox.may_answer.set()


@contextmanager
def busy(inbox: Inbox) -> Iterator[None]:
    with closed(inbox), socket.create_server(("127.0.0.1", inbox.port)) as listener:
        thread = threading.Thread(target=refuse_all, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def refuse_all(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"421 too many connections\r\n")


@contextmanager
def with_tls(inbox: Inbox, authority: trustme.CA) -> Iterator[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    inbox.stop()
    inbox.start(context)
    try:
        yield
    finally:
        inbox.stop()
        inbox.start()


def with_a_bad_certificate(inbox: Inbox) -> AbstractContextManager[None]:
    return with_tls(inbox, trustme.CA())


@contextmanager
def locked(inbox: Inbox) -> Iterator[None]:
    inbox.knows_us = False
    try:
        yield
    finally:
        inbox.knows_us = True


def replying(command: str, reply: str) -> Fault:
    @contextmanager
    def fault(inbox: Inbox) -> Iterator[None]:
        inbox.replies[command] = reply
        try:
            yield
        finally:
            inbox.replies[command] = "250 OK"

    fault.__name__ = f"{command} {reply[:3] or 'hangs up'}"
    return fault
