"""The adapter for `requests` whose connections the guard has admitted."""

import socket
import ssl
import string
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn
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
from actors.fetch.sockets import TLSContext, broken_connection, connect
from tasks.task import FailureCode

MAX_POOLS = 16  # hosts to which a connection is kept, one each


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
        self.bounds.begin_answer()
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
    def _tls_context(self) -> TLSContext:
        context = TLSContext(ssl.PROTOCOL_TLS_CLIENT)
        context.owner = self
        context.load_verify_locations(self._ca_bundle)
        return context


class _GuardedConnection(HTTPConnection):
    """A connection to an address that the guard has admitted."""

    response_class = StrictResponse

    def __init__(self, *args: Any, transport: Transport, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport = transport

    def _new_conn(self) -> socket.socket:
        return connect(self._transport, self._dns_host, self.port)

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
        raise broken_connection() from None


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
