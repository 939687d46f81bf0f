"""Connections of clients: deadlines that bytes do not extend, and a limit for each client."""

import asyncio
import json
from asyncio import BaseTransport, Transport
from time import monotonic
from typing import Any, cast

from sanic.exceptions import RequestTimeout, ServiceUnavailable
from sanic.http import Http, Stage
from sanic.server import HttpProtocol

from service import metrics
from service.client_networks import networks_of

GRACE_SECONDS = 5.0  # for the answer about a missed deadline, until the connection is cut
# How long the rest of a refused request is read and dropped: until it pauses, and in all.
LINGER_SECONDS = 5.0
LONGEST_LINGER_SECONDS = 30.0

_REFUSAL = json.dumps(
    {
        "error": {
            "code": "too_many_connections",
            "message": "Your address has too many open connections. Please reuse or close some.",
        }
    }
).encode()
_REFUSED = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
)


class _Exchange(Http):
    """A request and its answer. A request that is answered too early ends the connection."""

    __slots__ = ("_is_pipelined",)
    protocol: "BoundedProtocol"

    def init_for_request(self) -> None:
        super().init_for_request()
        self.protocol.began = monotonic()
        self.protocol.app.ctx.large_bodies.leave(self.protocol)
        self._is_pipelined = bool(self.recv_buffer)

    async def http1_request_header(self) -> None:
        """Read the head of a request, after the requests of other clients if it is pipelined.

        Sanic answers the requests in its buffer, thousands of them, without a pause.
        """
        if self._is_pipelined:
            await asyncio.sleep(0)
        await super().http1_request_header()

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001  Sanic's signature
        # The head of a request of the method NONE could not be read: Sanic made a substitute.
        is_unread = bool(self.request_body) or self.request.method == "NONE"
        self.protocol.end_if_stopped()
        if is_unread:
            self.keep_alive = False
            self.expecting_continue = False  # the final answer says not to send the body
        await super().http1_response_header(data, end_stream)
        if is_unread:
            self.request_body = None
            self.protocol.linger_at_close = True


class BoundedProtocol(HttpProtocol):
    """HTTP/1.1 whose deadlines count from the first byte of a request.

    Sanic's own begin again with each byte, and an `Upgrade: websocket` header switches them off.
    The head and the body must arrive within REQUEST_TIMEOUT, and the answer must be taken within
    RESPONSE_TIMEOUT after that. Each part of a long answer has a RESPONSE_TIMEOUT of its own.
    """

    HTTP_CLASS = _Exchange
    __slots__ = (
        "_dropped_at",
        "_drops_input",
        "_has_missed",
        "_is_admitted",
        "_sent",
        "began",
        "linger_at_close",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.began = self._sent = self._dropped_at = monotonic()
        self.linger_at_close = False
        self._drops_input = False
        self._has_missed = False
        self._is_admitted = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Serve a connection, or refuse it if its client has too many."""
        transport = cast("Transport", transport)  # also that of uvloop, which does not inherit it
        peer = transport.get_extra_info("peername")
        if not self.app.ctx.peers.enter(self, networks_of(peer[0] if peer else "")):
            metrics.connections_refused.inc()
            transport.write(_REFUSED)
            transport.close()
            return
        self._is_admitted = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._is_admitted:
            self.app.ctx.peers.leave(self)
            self.app.ctx.large_bodies.leave(self)
            super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        return self.http is None or self.http.stage is Stage.IDLE

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the request, the first of which starts its deadline."""
        if self._drops_input:
            self._dropped_at = monotonic()
            return
        http = self.http
        if http is not None and http.stage is Stage.IDLE:
            self.began = monotonic()
        super().data_received(data)

    async def send(self, data: bytes) -> None:
        """Send a part of an answer once the client has taken what was sent before."""
        self.end_if_stopped()
        await super().send(data)
        self._sent = monotonic()

    def end_if_stopped(self) -> None:
        """Close the connection after this answer if the service stops. It would wait otherwise."""
        if self.signal.stopped:
            self.http.keep_alive = False

    def put_off_deadline(self, seconds: float) -> None:
        """Let the answer begin later: the client has asked the service to wait."""
        self._sent = monotonic() + seconds

    def check_timeouts(self) -> None:
        """End what has missed its deadline. Sanic calls this once, and then it schedules itself."""
        if self._task is None or self.transport is None or self.http is None:
            return
        left = self._deadline() - monotonic()
        if left > 0:
            # A phase that begins in between gets at least the shortest of the limits.
            shortest = min(self.request_timeout, self.response_timeout, self.keep_alive_timeout)
            self._check_in(min(left, shortest))
        elif self._has_missed or not self._can_write.is_set():
            self.transport.abort()
        else:
            self._has_missed = True
            self._set_error()
            self._task.cancel()
            self._check_in(GRACE_SECONDS)

    def _deadline(self) -> float:
        if self.http.stage is Stage.IDLE:
            return self.began + float(self.keep_alive_timeout)
        arrived = self.began + float(self.request_timeout)
        if self._is_receiving():
            return arrived
        return max(arrived, self._sent) + float(self.response_timeout)

    def _is_receiving(self) -> bool:
        return self.http.stage is Stage.REQUEST or bool(self.http.request_body)

    def _set_error(self) -> None:
        """Choose the answer to a request that is under way."""
        if self.http.stage is not Stage.IDLE:
            is_late = self._is_receiving()
            self.http.exception = RequestTimeout() if is_late else ServiceUnavailable()

    def _check_in(self, seconds: float) -> None:
        self._callback_check_timeouts = self.loop.call_later(seconds, self.check_timeouts)

    def close(self, timeout: float | None = None) -> None:
        """Close the connection, but not before the client could read an early answer.

        A socket that is closed with unread input is reset, and the answer is lost (RFC 9112 § 9.6).
        """
        if not self.linger_at_close or self.transport is None or self.transport.is_closing():
            super().close(timeout)
            return
        self.linger_at_close = False
        self._drops_input = True
        self.app.ctx.large_bodies.leave(self)
        self.recv_buffer.clear()
        if self._callback_check_timeouts:
            self._callback_check_timeouts.cancel()
        self.transport.resume_reading()
        self.transport.write_eof()
        self._dropped_at = monotonic()
        self._linger(self.transport, self._dropped_at + LONGEST_LINGER_SECONDS)

    def _linger(self, transport: Transport, longest: float) -> None:
        left = min(self._dropped_at + LINGER_SECONDS, longest) - monotonic()
        if left <= 0:
            transport.abort()
        else:
            self.loop.call_later(left, self._linger, transport, longest)
