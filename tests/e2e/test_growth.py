"""Whether the event loop has little work, and no more than grows with what a client sends."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.process import free_port
from devtools.servers.system import REPLY_SECONDS, Service
from service.submission import MAX_LIST_BYTES
from tests.growth import assert_linear
from tests.wire import exchange, status_of

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="needs Linux with scheduler statistics"
)

TOKEN = "a-token-of-the-tests"
HEAD_BYTES, BODY_BYTES = 15 * 1024, 63 * 1024
MAX_SECONDS = 0.5  # of CPU time of the event loop for one request, also on a slow machine
MAX_SHARE = 1 / 3  # of the event loop in the CPU time for a long list

# What parsers stumble over: separators, escapes, brackets, and text that Unicode rules change.
ALPHABETS = [
    "a",
    "1",
    "a.",
    "-",
    "/",
    ",",
    ", ",
    "%",
    "%2f",
    "[",
    "{",
    '"',
    "\\",
    '\\"',
    "a=b&",
    "&",
    ";",
    ";=",
    ":",
    "::",
    "@",
    "a@",
    "http://",
    " ",
    "\t",
    "xn--",
    "\u0301",
    "\u0301\u0316",
    "ß",
    "\ufdfa",
    "😀",
    "\u202e",
]

Entry = Callable[[bytes], bytes]


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((line, b"Host: a", b"Connection: close", *fields, b"", b""))


def post(content_type: bytes, body: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return head(b"POST /submit HTTP/1.1", b"Content-Type: " + content_type, length) + body


def form(prefix: bytes) -> Entry:
    return lambda text: post(b"application/x-www-form-urlencoded", prefix + text)


def document(make: Callable[[str], object]) -> Entry:
    def request(text: bytes) -> bytes:
        body = json.dumps(make(text.decode(errors="replace")), ensure_ascii=False).encode()
        return post(b"application/json", body)

    return request


def multipart(begin: bytes, end: bytes) -> Entry:
    return lambda text: post(b"multipart/form-data; boundary=x", begin + text + end)


def field(name: bytes, begin: bytes = b"", line: bytes = b"POST /submit?url= HTTP/1.1") -> Entry:
    return lambda text: head(line, name + b": " + begin + text)


DISPOSITION = b'--x\r\nContent-Disposition: form-data; name="'
HEAD_ENTRIES: dict[str, Entry] = {
    "path": lambda text: head(b"GET /" + quoted(text) + b" HTTP/1.1"),
    "raw path": lambda text: head(b"GET /" + text.replace(b" ", b"") + b" HTTP/1.1"),
    "absolute form": lambda text: head(b"GET http://" + quoted(text) + b" HTTP/1.1"),
    "query": lambda text: head(b"GET /check?" + quoted(text) + b" HTTP/1.1"),
    "id": lambda text: head(b"GET /check?id=" + quoted(text) + b" HTTP/1.1"),
    "url": lambda text: head(b"POST /submit?url=http://" + quoted(text) + b" HTTP/1.1"),
    "method": lambda text: head(text.replace(b" ", b"") + b" /check HTTP/1.1"),
    "version": lambda text: head(b"GET /check HTTP/" + text),
    "header name": lambda text: head(b"GET /check HTTP/1.1", text + b": a"),
    "header lines": lambda text: head(
        b"GET /check HTTP/1.1", *(b"%b: a" % text[at : at + 4] for at in range(0, len(text), 4))
    ),
    "Idempotency-Key": field(b"Idempotency-Key"),
    "quoted Idempotency-Key": field(b"Idempotency-Key", b'"'),
    "Authorization": field(b"Authorization"),
    "Bearer": field(b"Authorization", b"Bearer "),
    "Content-Type": lambda text: post(text, b"x"),
    "multipart Content-Type": lambda text: post(b"multipart/form-data" + text, b"x"),
    "boundary": lambda text: post(b"multipart/form-data; boundary=" + text, b"x"),
    "Content-Length": field(b"Content-Length"),
    "Transfer-Encoding": field(b"Transfer-Encoding"),
    "Expect": field(b"Content-Length: 1\r\nExpect"),
    "X-Forwarded-For": field(b"X-Forwarded-For"),
    "X-Forwarded-Host": field(b"X-Forwarded-For: ::1\r\nX-Forwarded-Host"),
    "X-Forwarded-Port": field(b"X-Forwarded-For: ::1\r\nX-Forwarded-Port"),
    "X-Forwarded-Path": field(b"X-Forwarded-For: ::1\r\nX-Forwarded-Path"),
    "Forwarded": field(b"Forwarded"),
    "If-None-Match": field(b"If-None-Match", line=b"GET / HTTP/1.1"),
    "Origin": field(b"Origin"),
    "preflight": field(
        b"Access-Control-Request-Method: POST\r\nOrigin", line=b"OPTIONS /submit HTTP/1.1"
    ),
    "Access-Control-Request-Headers": field(
        b"Origin: null\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers",
        line=b"OPTIONS /submit HTTP/1.1",
    ),
    "Host": lambda text: b"GET /check HTTP/1.1\r\nConnection: close\r\nHost: " + text + b"\r\n\r\n",
    "Accept": field(b"Accept", line=b"GET /nowhere HTTP/1.1"),
    "Cookie": field(b"Cookie"),
    "Upgrade": field(b"Upgrade"),
    "Connection": lambda text: b"GET / HTTP/1.0\r\nHost: a\r\nConnection: " + text + b"\r\n\r\n",
}
BODY_ENTRIES: dict[str, Entry] = {
    "form": form(b""),
    "form url": form(b"url="),
    "form authority": form(b"url=http://"),
    "form path": form(b"url=http://127.0.0.1:1025/"),
    "form email": form(b"url=http://127.0.0.1:1025/&email="),
    "form domain": form(b"url=http://127.0.0.1:1025/&email=a@"),
    "form md5": form(b"url=http://127.0.0.1:1025/&md5="),
    "form name": lambda text: post(b"application/x-www-form-urlencoded", text + b"=a"),
    "multipart": multipart(b"", b""),
    "multipart value": multipart(DISPOSITION + b'url"\r\n\r\nhttp://', b"\r\n--x--"),
    "multipart name": multipart(DISPOSITION, b'"\r\n\r\na\r\n--x--'),
    "multipart head": multipart(DISPOSITION + b'url"\r\nX: ', b"\r\n\r\na\r\n--x--"),
    "multipart parts": lambda text: multipart(b"", b"")(text.replace(b"a", b"\r\n--x")),
    "JSON": lambda text: post(b"application/json", text),
    "JSON url": document(lambda text: {"url": f"http://{text}"}),
    "JSON email": document(lambda text: {"url": "http://127.0.0.1:1025/", "email": f"a@{text}"}),
    "JSON name": document(lambda text: {text: "a"}),
    "JSON list": lambda text: post(b"application/json", b'{"url": [' + text),
    "JSON objects": lambda text: post(b"application/json", b'{"a":' * (len(text) // 5)),
    "JSON names": lambda text: post(
        b"application/json", b"{%b}" % b",".join([b'"url":1'] * (len(text) // 8))
    ),
    "chunk extension": lambda text: (
        head(b"POST /submit HTTP/1.1", b"Transfer-Encoding: chunked") + b"1;" + text + b"\r\na\r\n"
        b"0\r\n\r\n"
    ),
    "unread body": lambda text: (
        head(b"POST /nowhere HTTP/1.1", b"Content-Length: %d" % len(text)) + text
    ),
}


def chunked(size: int) -> bytes:
    """Return a form in chunks of one byte."""
    encoding = b"Transfer-Encoding: chunked"
    content_type = b"Content-Type: application/x-www-form-urlencoded"
    chunks = b"1\r\na\r\n" * size + b"0\r\n\r\n"
    return head(b"POST /submit HTTP/1.1", content_type, encoding) + chunks


def quoted(text: bytes) -> bytes:
    """Percent-encode what a request line cannot hold, in a third of the space."""
    if text.isascii() and b" " not in text and b"\t" not in text:
        return text
    return quote_from_bytes(text[: len(text) // 3]).encode()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {"ALLOW_NETWORKS": "", "PROXIES_COUNT": "1", "CORS_ORIGINS": "http://a,http://b"}
    system = System(tmp_path_factory.mktemp("growth"), settings)
    yield system
    system.stop()


@pytest.fixture(scope="module")
def service(system: System) -> Service:
    return system.start_service(MAX_ATTEMPTS="1")  # each attempt at an accepted task has a line


@pytest.fixture(scope="module")
def closed(system: System) -> Service:
    return system.start_service(API_TOKENS=TOKEN)


@pytest.fixture(scope="module")
def without_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with unreachable workers: it uses CPU time for requests alone."""
    system = System(tmp_path_factory.mktemp("lists"), {"ALLOW_NETWORKS": ""})
    rabbitmq_url = f"amqp://127.0.0.1:{free_port()}"
    yield system.start_service(RABBITMQ_URL=rabbitmq_url, URLS_PER_HOUR="0")
    system.stop()


def assert_linear_at(service: Service, make: Entry, alphabet: str, largest: int) -> None:
    filler = alphabet.encode()
    assert_linear_requests(
        service, lambda size: make((filler * (size // len(filler) + 1))[:size]), largest
    )


def assert_linear_requests(service: Service, make: Callable[[int], bytes], largest: int) -> None:
    def send(size: int) -> None:
        request = make(size)
        assert 200 <= status_of(exchange(service, request)) < 500

    assert_linear(send, largest=largest, clock=service.main_thread_seconds)
    before = service.main_thread_seconds()
    send(largest)
    assert service.main_thread_seconds() - before < MAX_SECONDS


@pytest.mark.parametrize("entry", HEAD_ENTRIES)
def test_work_for_a_head_is_linear(service: Service, entry: str) -> None:
    for alphabet in ALPHABETS:
        assert_linear_at(service, HEAD_ENTRIES[entry], alphabet, HEAD_BYTES)
    assert "Traceback" not in service.output


@pytest.mark.parametrize("entry", BODY_ENTRIES)
def test_work_for_a_body_is_linear(service: Service, entry: str) -> None:
    for alphabet in ALPHABETS:
        assert_linear_at(service, BODY_ENTRIES[entry], alphabet, BODY_BYTES)
    assert "Traceback" not in service.output


def test_work_for_chunks_is_linear(service: Service) -> None:
    assert_linear_requests(service, chunked, BODY_BYTES)


LONG_LIST = [f"http://example.com/{'x' * 370}/{number}" for number in range(9_999)]
BODIES: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "JSON": lambda lines: {"json": {"urls": lines}},
    "form": lambda lines: {"data": {"urls": "\n".join(lines)}},
    "multipart": lambda lines: {"files": {"urls": ("urls.txt", "\n".join(lines))}},
}


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_long_list_leaves_the_event_loop_free(without_workers: Service, kind: str) -> None:
    """One list is read to its invalid last line, and the other one is also stored."""
    service = without_workers
    for last, status in (("nope", 400), ("http://example.com/", 202)):
        request = requests.Request(
            "POST", f"{service.base}/submit", **BODIES[kind]([*LONG_LIST, last])
        ).prepare()
        assert isinstance(request.body, str | bytes)
        assert 0.9 * MAX_LIST_BYTES < len(request.body) < MAX_LIST_BYTES
        loop_before, all_before = service.main_thread_seconds(), service.cpu_seconds()
        with requests.Session() as session:
            answer = session.send(request, timeout=REPLY_SECONDS)
        loop_seconds = service.main_thread_seconds() - loop_before
        all_seconds = service.cpu_seconds() - all_before
        assert answer.status_code == status, answer.text
        assert loop_seconds < MAX_SHARE * all_seconds, (loop_seconds, all_seconds)


@pytest.mark.parametrize("entry", ["Authorization", "Bearer"])
def test_work_for_a_wrong_token_is_linear(closed: Service, entry: str) -> None:
    for alphabet in ALPHABETS:
        assert_linear_at(closed, HEAD_ENTRIES[entry], alphabet, HEAD_BYTES)


def test_nothing_of_this_has_filled_the_log(service: Service) -> None:
    assert len(service.output) < 20_000
