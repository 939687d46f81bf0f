"""What the API answers to good and bad requests, over real HTTP."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.mongod import Mongod
from devtools.servers.process import free_port
from devtools.servers.system import Service
from devtools.waiting import wait_for
from settings import VERSION

URL = "http://127.0.0.1:1025/never-fetched"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ID = "0e4fac17-f367-4807-8c28-8a059a2f82ac"


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    return open_system.start_service()


def submit(service: Service, **request: Any) -> requests.Response:
    return requests.post(f"{service.base}/submit", timeout=10, **request)


def assert_refused(response: requests.Response, code: str, field: str | None) -> None:
    assert response.status_code == requests.codes.bad_request, response.text
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == code
    assert error.get("field") == field
    assert field is None or error["message"].startswith(f"{field} ")


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"url": URL}},
        {"json": {"url": URL, "email": "user@example.com", "md5": "0" * 32}},
        {"files": {"url": (None, URL), "email": (None, "")}},
        {"params": {"url": URL}},
        {"params": {"url": f"{URL}?{'a' * 8000}"}},
        {"params": {"email": "user@example.com"}, "data": {"url": URL}},
    ],
    ids=["form", "json", "multipart", "query", "long query", "query and form"],
)
def test_submit_accepts_each_form(service: Service, request_: dict[str, Any]) -> None:
    response = submit(service, **request_)
    assert response.status_code == requests.codes.accepted
    task_id = response.json()["id"]
    assert response.json() == {"id": task_id}
    assert response.headers["Location"] == f"/check?id={task_id}"
    assert service.check(task_id).status_code != requests.codes.not_found


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({}, "missing_parameter", "url"),
        ({"data": {"url": ""}}, "missing_parameter", "url"),
        ({"json": {"email": "user@example.com"}}, "missing_parameter", "url"),
        ({"data": [("url", URL), ("url", URL)]}, "repeated_parameter", "url"),
        ({"params": {"url": URL}, "data": {"url": URL}}, "repeated_parameter", "url"),
        ({"json": {"url": 7}}, "invalid_parameter", "url"),
        ({"json": {"url": [URL]}}, "invalid_parameter", "url"),
        ({"json": {"url": None}}, "invalid_parameter", "url"),
        ({"files": {"url": ("url.txt", URL)}}, "invalid_parameter", "url"),
        ({"data": {"url": "ftp://example.com/"}}, "invalid_parameter", "url"),
        ({"data": {"url": "http://u:p@example.com/"}}, "invalid_parameter", "url"),
        ({"data": {"url": "http://example.com/" + "a" * 8192}}, "invalid_parameter", "url"),
        ({"data": b"url=http://example.com/\xff", "headers": FORM}, "invalid_parameter", "url"),
        ({"data": {"url": URL, "email": "a@b.com, c@d.com"}}, "invalid_parameter", "email"),
        ({"data": {"url": URL, "email": "a" * 300}}, "invalid_parameter", "email"),
        ({"data": {"url": URL, "md5": "abc"}}, "invalid_parameter", "md5"),
        ({"data": f"url={URL}?a=1&b=2", "headers": FORM}, "unknown_parameter", "b"),
    ],
)
def test_submit_names_the_parameter_that_is_wrong(
    service: Service, request_: dict[str, Any], code: str, field: str
) -> None:
    assert_refused(submit(service, **request_), code, field)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b"1" * 5000, "application/json"),
        (b"url=x", "text/plain"),
        (b"a=1&" * 1000, "application/x-www-form-urlencoded"),
    ],
)
def test_submit_refuses_a_body_that_it_cannot_read(
    service: Service, body: bytes, content_type: str
) -> None:
    response = submit(service, data=body, headers={"Content-Type": content_type})
    assert_refused(response, "invalid_body", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b'--x\r\nContent-Disposition: form-data; name="url"',
        b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\n\xff\r\n--x--',
        b"--x\r\nContent-Disposition\r\n\r\n\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="url"; filename*=x\r\n\r\nhttp\r\n--x--\r\n',
        b"--x\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nv\r\n--x--\r\n",
    ],
)
@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "multipart/form-data"])
def test_submit_refuses_a_broken_multipart_body(
    service: Service, body: bytes, content_type: str
) -> None:
    response = submit(service, data=body, headers={"Content-Type": content_type})
    assert response.status_code == requests.codes.bad_request, response.text
    assert response.json()["error"]["code"]


def test_submit_refuses_lone_surrogates(service: Service) -> None:
    body = json.dumps({"url": "http://example.com/\ud800"})
    response = submit(service, data=body, headers={"Content-Type": "application/json"})
    assert_refused(response, "invalid_parameter", "url")


def test_submit_refuses_a_large_body(service: Service) -> None:
    response = submit(service, data={"url": "x" * 70_000})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("task_id", [ID, "nonsense", ID.upper(), "%00", "%ff", "a" * 5000])
def test_check_knows_no_such_task(service: Service, task_id: str) -> None:
    response = requests.get(f"{service.base}/check?id={task_id}", timeout=10)
    assert response.status_code == requests.codes.not_found
    assert response.json()["status"] == "not_found"
    assert response.json()["error"]["code"] == "not_found"


def test_check_takes_an_id_in_capitals(service: Service) -> None:
    task_id = service.submit("http://127.0.0.1:1025/")
    assert service.check(task_id.upper()).json()["url"] == "http://127.0.0.1:1025/"


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "missing_parameter"), ("id=", "missing_parameter"), ("id=1&id=2", "repeated_parameter")],
)
def test_check_explains_a_malformed_id(service: Service, query: str, code: str) -> None:
    assert_refused(requests.get(f"{service.base}/check?{query}", timeout=10), code, "id")


@pytest.mark.parametrize("accept", ["*/*", "text/html;q=0.9, application/json", "text/plain"])
@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/submit", 405)]
)
def test_errors_are_json_unless_html_is_preferred(
    service: Service, accept: str, method: str, path: str, status: int
) -> None:
    response = requests.request(
        method, f"{service.base}{path}", headers={"Accept": accept}, timeout=10
    )
    assert response.status_code == status
    assert set(response.json()["error"]) == {"code", "message"}
    if status == requests.codes.method_not_allowed:
        assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /check?id=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /submit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
def test_a_malformed_request_is_no_internal_error(service: Service, request_: bytes) -> None:
    where = urlsplit(service.base)
    assert where.hostname is not None
    assert where.port is not None
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        status_line = client.makefile("rb").readline()
    assert not status_line or status_line.split()[1][:1] == b"4", status_line


@pytest.mark.parametrize(
    "line", [b"GET http://a:99999/ HTTP/1.1", b"CONNECT 127.0.0.1:22 HTTP/1.1"]
)
def test_malformed_target_is_reported(service: Service, line: bytes) -> None:
    where = urlsplit(service.base)
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.makefile("rb").read()
    assert b" 40" in answer.partition(b"\r\n")[0]
    assert b'{"error":' in answer
    assert "Traceback" not in service.output


def test_a_client_that_hangs_up_is_no_error_of_ours(service: Service) -> None:
    where = urlsplit(service.base)
    for _ in range(5):
        with socket.create_connection((where.hostname, where.port), timeout=10) as client:
            client.sendall(b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nurl")
    metrics = f"{service.base}/metrics"
    hung_up = 'route="/submit",status="4xx"'
    wait_for(lambda: hung_up in requests.get(metrics, timeout=10).text)
    assert " ERROR " not in service.output


def test_a_part_of_a_multipart_body_has_no_charset_of_its_own(service: Service) -> None:
    """Some of those take quadratic time to decode."""
    part = b'--x\r\nContent-Disposition: form-data; name="url"\r\n'
    part += b"Content-Type: text/plain; charset=utf-16\r\n\r\n" + URL.encode() + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert submit(service, data=part, headers=headers).status_code == requests.codes.accepted


def test_health_reports_the_store_and_the_broker(service: Service) -> None:
    live = requests.get(f"{service.base}/health/live", timeout=10)
    ready = requests.get(f"{service.base}/health/ready", timeout=10)
    assert live.json() == {"status": "ok", "version": VERSION}
    assert ready.json() == {
        "status": "ok",
        "store": "ok",
        "broker": "ok",
        "version": VERSION,
    }


@pytest.mark.services
def test_outage_of_the_store_answers_503(tmp_path: Path, mongod: Mongod) -> None:
    """No mongod answers at a free port; the fixture only says whether this machine has one."""
    del mongod
    system = System(tmp_path, {"MONGODB_URL": f"mongodb://127.0.0.1:{free_port()}/test"})
    try:
        service = system.start()
        for response in (submit(service, data={"url": URL}), service.check(ID)):
            assert response.status_code == requests.codes.service_unavailable
            assert int(response.headers["Retry-After"]) > 0
            assert response.json()["error"]["code"] == "store_unavailable"
        ready = requests.get(f"{service.base}/health/ready", timeout=10)
        assert ready.status_code == requests.codes.service_unavailable
        assert ready.json()["store"] == "unreachable"
    finally:
        system.stop()
