"""The adapter for `requests` whose connections the guard has admitted."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn, cast

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from fetch.bounds import SLICE_SECONDS, Bounds
from fetch.connecting import connect
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.kept import KeptConnections
from fetch.lookup import Resolver
from fetch.request import Target, prepare
from fetch.response import StrictResponse
from fetch.sockets import broken_connection
from fetch.tls import TLSContext, make_context
from settings import DEFAULT_USER_AGENT
from tasks.errors import InvalidURLError
from tasks.failure import FailureCode

MAX_POOLS = 16  # hosts whose connection settings are kept by a thread


class Transport(HTTPAdapter):
    """The way out for one thread; it keeps connections from one download to the next.

    `bounds` are those of the download under way: set them before its first `get`. Cookies,
    proxies, `.netrc` and redirects are a session's, and there is none.
    """

    bounds: Bounds
    target: str  # of the request under way, RFC 9112 § 3.2.1
    _connection: "_GuardedConnection | None"  # of the request under way, once it has one

    def __init__(
        self,
        guard: Guard,
        *,
        resolver: Resolver | None = None,
        kept: KeptConnections | None = None,
        ca_bundle: Path | None = None,
        user_agent: str = DEFAULT_USER_AGENT,
    ) -> None:
        self.guard = guard
        self.resolver = Resolver() if resolver is None else resolver
        self._kept = KeptConnections() if kept is None else kept
        self._user_agent = user_agent
        self.connects = 0  # connections made so far: a request that adds none used a kept one
        self._ca_bundle = ca_bundle or certifi.where()
        # requests, whose types do not have it, would make one for each request.
        self._timeout: Any = Timeout(connect=SLICE_SECONDS, read=SLICE_SECONDS)
        self._pool_of = lru_cache(MAX_POOLS)(self._make_pool)
        super().__init__(max_retries=0)

    def get(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        """Return the response to one GET, its body unread and a redirect not followed.

        `headers` are sent in addition to those of every request. If a kept connection fails before
        an answer begins, the request is made once more on a new one (RFC 9110 § 9.2.2). Raises
        FetchError and FetchCancelledError.
        """
        try:
            return self._get_once(url, headers)
        except FetchError as error:
            connection = self._connection
            is_stale = connection is not None and connection.is_kept and not connection.is_answered
            if not is_stale or error.failure.code is FailureCode.DEADLINE:
                raise
            return self._get_once(url, headers)

    def _get_once(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        self.bounds.begin_answer()
        self._connection = None
        with translated_errors():
            target = Target.of(url)
            self.target = target.path
            request = prepare(target, self._user_agent, headers)
            return cast("HTTPResponse", self.send(request, stream=True, timeout=self._timeout))

    def use_kept(self, pool: HTTPConnectionPool) -> "_GuardedConnection | None":
        """Return the connection that is kept for the pool's host, if it can be used."""
        connection = self._kept.take((self, pool.scheme, pool.host, pool.port))
        assert connection is None or isinstance(connection, _GuardedConnection)
        return connection

    def begin_request(self, connection: "_GuardedConnection") -> None:
        self._connection = connection

    def keep(self, pool: HTTPConnectionPool, connection: "_GuardedConnection") -> None:
        """Keep a connection whose answer was read to its end, if it can be used again."""
        if connection.is_reusable:
            connection.is_kept = True
            self._kept.put((self, pool.scheme, pool.host, pool.port), connection)
        else:
            connection.close()

    def close(self) -> None:
        super().close()
        self._kept.close_all()

    def init_poolmanager(self, *_args: Any, **_kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=MAX_POOLS, maxsize=1)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_GuardedHTTPPool, transport=self),
            "https": partial(_GuardedHTTPSPool, transport=self),
        }

    def proxy_manager_for(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError("No download goes through a proxy: the guard would only see the proxy.")

    def get_connection_with_tls_context(self, request: Any, *_args: Any, **_kwargs: Any) -> Any:  # noqa: ANN401
        """Return the pool of a request's host. requests would look for proxies first."""
        return self._pool_of(request.url)

    def _make_pool(self, root: str) -> HTTPConnectionPool:
        is_secure = root.startswith("https:")
        tls = {"ssl_context": self._tls_context} if is_secure else None
        pool: HTTPConnectionPool = self.poolmanager.connection_from_url(root, pool_kwargs=tls)
        return pool

    def request_url(self, *_args: Any) -> str:
        """Return any path: the connection puts the target in its place."""
        return "/"

    def build_response(self, _req: Any, resp: Any) -> Any:  # noqa: ANN401
        """Return the answer as urllib3 has it.

        requests would copy its headers, and parse its cookies in time quadratic in a header of the
        origin's choice.
        """
        return resp

    def cert_verify(self, *_args: Any) -> None:
        """The context verifies; nothing is to be loaded for each connection."""

    @cached_property
    def _tls_context(self) -> TLSContext:
        return make_context(self, self._ca_bundle)


class _GuardedConnection(HTTPConnection):
    """A connection to an address that the guard has admitted."""

    is_kept = False  # from an earlier request
    _answer: StrictResponse | None = None  # to the latest request

    def __init__(self, *args: Any, transport: Transport, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport = transport

    @property
    def is_answered(self) -> bool:
        return self._answer is not None and self._answer.has_begun

    @property
    def is_reusable(self) -> bool:
        is_unread = self._answer is not None and self._answer.has_surplus
        return self.sock is not None and not is_unread

    def _new_conn(self) -> socket.socket:
        return connect(self._transport, self._dns_host, self.port)

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for the very target: urllib3 rewrites escapes, `%zz%2f` would become `%25zz%252F`."""
        self._answer = None
        self._transport.begin_request(self)
        super().putrequest(method, self._transport.target, *args, **kwargs)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        if self.is_kept:
            self._transport.bounds.expect_soon()
        return super().getresponse()

    def response_class(self, *args: Any, **kwargs: Any) -> StrictResponse:  # type: ignore[override]
        """Make a response, and remember it."""
        self._answer = StrictResponse(*args, **kwargs)
        return self._answer


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    """The same over TLS; the name in SNI and certificate stays the URL's."""

    @property
    def is_reusable(self) -> bool:
        # Bytes that were decrypted with the end of the answer are no longer in the socket.
        return super().is_reusable and not cast("ssl.SSLSocket", self.sock).pending()


class _GuardedHTTPPool(HTTPConnectionPool):
    """Makes connections for one host and thread, and leaves the idle one to `KeptConnections`."""

    ConnectionCls = _GuardedConnection

    def _get_conn(self, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002
        return self._transport.use_kept(self) or self._new_conn()

    def _put_conn(self, conn: Any) -> None:  # noqa: ANN401
        if conn is not None:
            self._transport.keep(self, conn)

    @property
    def _transport(self) -> Transport:
        transport = self.conn_kw["transport"]
        assert isinstance(transport, Transport)
        return transport


class _GuardedHTTPSPool(_GuardedHTTPPool, HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises FetchError for the errors of requests and urllib3."""
    try:
        yield
    except (
        InvalidURLError,
        requests.exceptions.InvalidURL,
        urllib3.exceptions.LocationValueError,
    ):
        raise FetchError(FailureCode.PROTOCOL_ERROR, "The URL cannot be requested.") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        raise broken_connection() from None


def body_of(response: HTTPResponse) -> StrictResponse:
    """What reads a response's body into buffers, which requests and urllib3 do not offer."""
    body = response._original_response  # noqa: SLF001
    assert isinstance(body, StrictResponse)
    return body
