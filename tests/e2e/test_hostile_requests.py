"""Requests that no honest client sends: a clear refusal, no trace, and little work."""

import json

import pytest

from devtools.servers.deployment import System
from devtools.servers.system import Service
from tests.wire import exchange, status_of

TOKEN = "a-token-of-the-tests"
CLOSE = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    return open_system.start_service()


@pytest.fixture(scope="module")
def closed(open_system: System) -> Service:
    return open_system.start_service(API_TOKENS=TOKEN)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"//", 404),
        (b"///", 404),
        (b"//example.com/check", 404),
        (b"/" * 700, 404),
        (b"/" * 16_000, 404),
        (b"/check" + b"/" * 15_000, 404),
        (b"/a" * 8_000, 404),
        (b"/" + b"%" * 16_000, 404),
        (b"/%zz%", 404),
        (b"/" + b"%2f" * 5_000, 404),
        (b"/" + b"[" * 16_000, 404),
        (b"/../" * 4_000, 404),
        (b"/page/../check", 404),
        (b"*", 404),
        (b"/" + b"?" * 16_000, 200),
        (b"/health/live/", 200),
        (b"/docs//", 404),
        (b"http://b", 200),
        (b"HTTPS://user@b:8443", 200),
        (b"http://b:99999/", 400),
        (b"http://b:x/", 400),
        (b"http://" + b"a" * 15_000, 200),
        (b"http://b?x=y", 200),
        (b"http://b/health/live", 200),
        (b"http://b//", 404),
        (b"http:///check", 400),
        (b"http://", 400),
        (b"ftp://b/check", 400),
        (b"mailto:a@example.com", 400),
        (b"b:80", 400),
        (b"check", 400),
        (b"?id=a", 400),
        (b"#", 400),
        (b"[" * 8_000, 400),
        (b"/\x00", 400),
        (b"/\x7f", 400),
        (b"/a\tb", 400),
        (b"/a\nb", 400),
        (b"/a b", 400),
        ("/café".encode(), 400),
        (b"/\xff\xfe", 400),
        (b"/" + "\u0301".encode() * 8_000, 400),
        (b"/" + b"a" * 17_000, 413),
        (b"", 400),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_malformed_targets_are_refused(
    service: Service, closed: Service, target: bytes, status: int
) -> None:
    answer = exchange(service, b"GET " + target + CLOSE)
    assert status_of(answer) == status, answer[:300]
    if status != 200:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    is_open = b"/health/" in target
    expected = {401, status} if status >= 400 or is_open else {401}
    assert status_of(exchange(closed, b"GET " + target + CLOSE)) in expected
    for each in (service, closed):
        assert "Traceback" not in each.output
        assert len(each.output) < 10_000


def test_the_absolute_form_reaches_the_same_answer(service: Service) -> None:
    check = b"/check?id=0e4fac17-f367-4807-8c28-8a059a2f82ac"
    bodies = [
        exchange(service, b"GET " + prefix + check + CLOSE).partition(b"\r\n\r\n")[2]
        for prefix in (b"", b"http://a", b"https://a:8443")
    ]
    assert b"not_found" in bodies[0]
    assert bodies == [bodies[0]] * 3


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT b:80 HTTP/1.1", 400),
        (b"CONNECT / HTTP/1.1", 405),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"get /check HTTP/1.1", 405),
        (b"NONE /check HTTP/1.1", 404),
        (b"M" * 15_000 + b" /check HTTP/1.1", 405),
        (b"G\x00T /check HTTP/1.1", 405),
        (b"\xff\xfe /check HTTP/1.1", 405),
        (b" /check HTTP/1.1", 405),
        (b"GET /check", 400),
        (b"GET /check HTTP/2.0", 400),
        (b"GET /check HTTP/0.9", 400),
        (b"PRI * HTTP/2.0", 400),
        (b"GET  /check HTTP/1.1", 400),
        (b" " * 15_000, 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /check HTTP/1.1\r\nno colon", 400),
        (b"GET /check HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", 400),
        (b"GET /check HTTP/1.1\r\nContent-Length: -1", 400),
        (b"GET /check HTTP/1.1\r\nContent-Length: " + b"9" * 10_000, 400),
        (b"GET /check HTTP/1.1\r\nContent-Length: " + b"9" * 4_000, 413),
        (b"GET /check HTTP/1.1\r\nTransfer-Encoding: gzip", 400),
        (b"GET /check HTTP/1.1\r\nExpect: wonders\r\nContent-Length: 1", 417),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_request_lines_and_framing(service: Service, line: bytes, status: int) -> None:
    answer = exchange(service, line + b"\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == status, answer[:300]
    assert "Traceback" not in service.output


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /check?id=x", 404),
        (b"GET /check", 400),
        (b"GET /nowhere", 404),
        (b"GET /health/live", 200),
        (b"HEAD /health/ready", 200),
        (b"GET /metrics", 200),
        (b"POST /check", 405),
        (b"OPTIONS /submit", 204),
        (b"GET x", 400),
        (b"POST /submit?url=http://127.0.0.1:1025/", 202),
        (b"GET /" + b"a" * 17_000, 413),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_no_answer_is_cached_or_guessed_at(service: Service, request_: bytes, status: int) -> None:
    answer = exchange(service, request_ + CLOSE)
    assert status_of(answer) == status
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\ncache-control: no-store\r\n" in head
    assert b"\r\nx-content-type-options: nosniff\r\n" in head


def test_a_path_of_slashes_costs_no_more_than_any_other(service: Service) -> None:
    def cost(target: bytes) -> float:
        before = service.cpu_seconds()
        for _ in range(300):
            exchange(service, b"GET " + target + CLOSE)
        return service.cpu_seconds() - before

    assert cost(b"/" * 700) < 10 * max(cost(b"/nowhere" * 87), 0.1)
