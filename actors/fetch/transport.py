"""Connections that the guard has admitted and that never outlast their bounds.

An adapter for `requests` whose connections look a name up once, ask the guard, connect to the
very address that was asked about, and ask the bounds after every wait on the network.
"""

import errno
import select
import socket
import ssl
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, cast
from urllib.parse import SplitResult, quote, urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from actors.fetch.bounds import SLICE_SECONDS, Bounds
from actors.fetch.errors import FetchError
from actors.fetch.guard import Guard
from actors.fetch.response import StrictResponse
from tasks.task import FailureCode

MAX_ADDRESSES = 4  # of one name, tried in the resolver's order
MAX_POOLS = 16  # hosts to which a connection is kept, one each

_SocketAddress = tuple[Any, ...]


class Transport(HTTPAdapter):
    """The way out for one thread; it keeps connections from one download to the next.

    `bounds` are those of the download under way: set them before its first `get`. Cookies,
    proxies, `.netrc` and redirects are a session's, and there is none.
    """

    bounds: Bounds
    target: str  # of the request under way, RFC 9112 § 3.2.1

    def __init__(self, guard: Guard, *, ca_bundle: Path | None = None) -> None:
        self.guard = guard
        self.connects = 0  # connections made so far: a request that adds none used a kept one
        self._ca_bundle = ca_bundle or certifi.where()
        super().__init__(max_retries=0)

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """The response to one GET, its body not yet read, a redirect not followed.

        A kept connection may turn out to be closed; then the request is made once more on a new
        one, as RFC 9110 § 9.2.2 allows. Raises FetchError and FetchCancelledError.
        """
        connects = self.connects
        try:
            return self._get_once(url, headers)
        except FetchError as error:
            is_kept = self.connects == connects
            if not is_kept or error.failure.code is not FailureCode.INCOMPLETE_BODY:
                raise
            return self._get_once(url, headers)

    def _get_once(self, url: str, headers: dict[str, str]) -> requests.Response:
        self.bounds.begin_window()
        parts = urlsplit(url)
        self.target = _target(parts)
        with translated_errors():
            # Only what is the same for many downloads is kept: the rest is the origin's to choose.
            prepare = _prepare.__wrapped__ if "Range" in headers else _prepare
            request = prepare(f"{parts.scheme}://{parts.netloc}/", tuple(headers.items()))
            return self.send(request, stream=True, timeout=SLICE_SECONDS)

    def init_poolmanager(self, *_args: Any, **_kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=MAX_POOLS, maxsize=1)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_GuardedHTTPPool, transport=self),
            "https": partial(_GuardedHTTPSPool, transport=self),
        }

    def proxy_manager_for(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError("No download goes through a proxy: the guard would only see the proxy.")

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {"ssl_context": self._tls_context} if host["scheme"] == "https" else {}

    def cert_verify(self, *_args: Any) -> None:
        """The context verifies; nothing is to be loaded for each connection."""

    @cached_property
    def _tls_context(self) -> "_TLSContext":
        context = _TLSContext(ssl.PROTOCOL_TLS_CLIENT)
        context.transport = self
        context.load_verify_locations(self._ca_bundle)
        return context


class _PlainSocket(socket.socket):
    """A TCP socket that asks its transport's bounds after every wait."""

    transport: Transport

    def recv_into(self, *args: Any) -> int:
        return self.transport.bounds.receive(partial(super().recv_into, *args), _silent_server)


class _TLSSocket(ssl.SSLSocket):
    """The same over TLS, its handshake included."""

    @property
    def _bounds(self) -> Bounds:
        return cast("_TLSContext", self.context).transport.bounds

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002
        handshake = partial(super().do_handshake, block)
        try:
            self._bounds.wait(handshake, self._bounds.limits.connect_timeout, _silent_server)
        except ssl.SSLEOFError:  # a server too busy for us says nothing of its certificate
            self.close()
            raise _broken_connection() from None
        except BaseException:
            self.close()
            raise
        # A body that ends with its connection is complete only after a close_notify.
        self.suppress_ragged_eofs = False

    def recv_into(self, *args: Any) -> int:
        try:
            return self._bounds.receive(partial(super().recv_into, *args), _silent_server)
        except ssl.SSLEOFError:
            raise _broken_connection() from None


class _TLSContext(ssl.SSLContext):
    """Verifies certificate and name, and makes bounded sockets."""

    sslsocket_class = _TLSSocket
    transport: Transport


class _GuardedConnection(HTTPConnection):
    """A connection to an address that the guard has admitted."""

    response_class = StrictResponse

    def __init__(self, *args: Any, transport: Transport, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport = transport

    def _new_conn(self) -> socket.socket:
        return _connect(self._transport, self._dns_host, self.port)

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for the very target: urllib3 rewrites escapes, `%zz%2f` would become `%25zz%252F`."""
        super().putrequest(method, self._transport.target, *args, **kwargs)


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    """The same over TLS; the name in SNI and certificate stays the URL's."""


class _GuardedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises FetchError for the errors of requests and urllib3."""
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError):
        raise FetchError(
            FailureCode.TLS_ERROR,
            "No secure connection: the server's certificate or its TLS is not acceptable.",
            is_permanent=True,
        ) from None
    except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError):
        raise FetchError(
            FailureCode.PROTOCOL_ERROR, "The URL cannot be requested.", is_permanent=True
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        raise _broken_connection() from None


def body_of(response: requests.Response) -> StrictResponse:
    """What reads a response's body into buffers, which requests and urllib3 do not offer."""
    body = response.raw._original_response  # noqa: SLF001
    assert isinstance(body, StrictResponse)
    return body


@lru_cache(maxsize=256)
def _prepare(origin: str, headers: tuple[tuple[str, str], ...]) -> requests.PreparedRequest:
    """A request to an origin; which target it asks for, the connection says."""
    return requests.Request("GET", origin, headers=dict(headers)).prepare()


def _target(parts: SplitResult) -> str:
    """Path and query as they were written, as curl sends them.

    Dot segments are removed (RFC 3986 § 5.2.4), characters that aren't ASCII are UTF-8, escaped.
    """
    kept: list[str] = []
    segments = parts.path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept[-1:] = []
        elif segment != ".":
            kept.append(segment)
    if segments[-1:] in (["."], [".."]):
        kept.append("")
    query = f"?{parts.query}" if parts.query else ""
    return quote(f"/{'/'.join(kept)}{query}", safe=string.punctuation)


def _connect(transport: Transport, host: str, port: int) -> socket.socket:
    addresses = _look_up(host, port, transport.bounds)
    transport.guard.check(str(address[0]) for _, address in addresses)
    transport.connects += 1
    *others, last = addresses[:MAX_ADDRESSES]
    for family, address in others:
        try:
            return _connect_to(transport, family, address)
        except FetchError as error:
            if error.is_permanent:
                raise
    return _connect_to(transport, *last)


def _look_up(host: str, port: int, bounds: Bounds) -> list[tuple[int, _SocketAddress]]:
    """Families and addresses of a host. getaddrinfo has no timeout, so a thread waits for it."""
    answers: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    def receive() -> list[Any] | Exception:
        try:
            return answers.get(timeout=SLICE_SECONDS)
        except Empty:
            raise TimeoutError from None

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    answer = bounds.wait(receive, bounds.limits.connect_timeout, _unknown_host)
    if isinstance(answer, Exception) or not answer:
        raise _unknown_host()
    return [(family, address) for family, _, _, _, address in answer]


def _connect_to(transport: Transport, family: int, address: _SocketAddress) -> socket.socket:
    try:
        connection = _PlainSocket(family, socket.SOCK_STREAM)
    except OSError:
        raise _unreachable_server() from None
    try:
        connection.transport = transport
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        code = connection.connect_ex(address)
        if code == errno.EINPROGRESS:
            transport.bounds.wait(
                partial(_wait_until_writable, connection),
                transport.bounds.limits.connect_timeout,
                _unreachable_server,
            )
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        connection.settimeout(SLICE_SECONDS)
    except BaseException:
        connection.close()
        raise
    if code:
        connection.close()
        raise _unreachable_server()
    return connection


def _wait_until_writable(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    if not poll.poll(SLICE_SECONDS * 1000):
        raise TimeoutError


def _broken_connection() -> FetchError:
    return FetchError(FailureCode.INCOMPLETE_BODY, "The server broke the connection off.")


def _unknown_host() -> FetchError:
    return FetchError(FailureCode.DNS_ERROR, "The host name could not be looked up.")


def _unreachable_server() -> FetchError:
    return FetchError(FailureCode.CONNECT_ERROR, "The server could not be reached.")


def _silent_server() -> FetchError:
    return FetchError(FailureCode.TIMEOUT, "The server did not answer, or stopped sending.")
