"""The internals of Sanic that the service builds on, so that an upgrade that moves one is seen."""

import pytest
from sanic import Request
from sanic.http import Http
from sanic.router import Router
from sanic.server import HttpProtocol


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (HttpProtocol, "HTTP_CLASS"),
        (HttpProtocol, "_callback_check_timeouts"),
        (HttpProtocol, "_can_write"),
        (HttpProtocol, "_task"),
        (HttpProtocol, "check_timeouts"),
        (HttpProtocol, "recv_buffer"),
        (Http, "exception"),
        (Http, "expecting_continue"),
        (Http, "http1_request_header"),
        (Http, "http1_response_header"),
        (Http, "init_for_request"),
        (Http, "keep_alive"),
        (Http, "recv_buffer"),
        (Http, "request_body"),
        (Http, "stage"),
        (Request, "_parsed_url"),
        (Router, "finalize"),
        (Router, "get"),
    ],
)
def test_sanic_has_what_the_service_builds_on(owner: type, name: str) -> None:
    assert hasattr(owner, name)
