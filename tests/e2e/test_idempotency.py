"""A submission that is sent again with its Idempotency-Key."""

import http.client
import json
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.system import Service

Serve = Callable[[Mapping[str, bytes]], Origin]

URL = "http://127.0.0.1:1025/never-fetched"
ORDER = {"url": URL, "email": "user@example.com", "md5": "0" * 32}
TOKENS = ("a-token-of-the-tests", "another-token-of-theirs")


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    return open_system.start_service()


def submit(
    service: Service, key: str, order: Mapping[str, str] = ORDER, **headers: str
) -> requests.Response:
    headers["Idempotency-Key"] = key
    return requests.post(f"{service.base}/submit", data=order, headers=headers, timeout=20)


def id_of(response: requests.Response) -> str:
    assert response.status_code == requests.codes.accepted, response.text
    return str(response.json()["id"])


def new_key() -> str:
    return f'"{uuid.uuid4()}"'


def test_the_same_key_gives_the_same_task(service: Service) -> None:
    key = new_key()
    first, again = submit(service, key), submit(service, key)
    assert id_of(again) == id_of(first)
    assert again.headers["Location"] == first.headers["Location"]
    as_json = requests.post(
        f"{service.base}/submit",
        json={**ORDER, "md5": ORDER["md5"].upper()},
        headers={"Idempotency-Key": key.strip('"')},
        timeout=20,
    )
    assert id_of(as_json) == id_of(first)
    assert id_of(submit(service, new_key())) != id_of(first)


@pytest.mark.parametrize(
    "other",
    [
        {**ORDER, "url": f"{URL}2"},
        {**ORDER, "email": "other@example.com"},
        {**ORDER, "md5": "1" * 32},
        {**ORDER, "sha256": "1" * 64},
        {**ORDER, "digests": "sha256"},
        {"url": URL},
    ],
    ids=["url", "email", "md5", "sha256", "digests", "less"],
)
def test_the_same_key_for_another_task_is_refused(service: Service, other: dict[str, str]) -> None:
    key = new_key()
    submit(service, key)
    refused = submit(service, key, other)
    assert refused.status_code == requests.codes.unprocessable_entity
    assert refused.json()["error"]["code"] == "idempotency_key_reused"


def test_ended_task_is_not_repeated(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": b"x"})
    service, key, order = embedded.start(), new_key(), {"url": f"{origin.base}/file"}
    task_id = id_of(submit(service, key, order))
    end = service.wait_for_end(task_id).json()
    assert id_of(submit(service, key, order)) == task_id
    assert service.check(task_id).json() == end


def test_requests_at_the_same_time_make_one_task(system: System, serve: Serve) -> None:
    origin = serve({"/file": b"x"})
    service, order = system.start(), {"url": f"{origin.base}/file"}
    with ThreadPoolExecutor(16) as threads:
        for key in (new_key(), new_key()):
            ids = set(threads.map(lambda key: id_of(submit(service, key, order)), [key] * 16))
            assert len(ids) == 1
            assert service.wait_for_end(ids.pop()).status_code == requests.codes.ok


def test_each_token_has_keys_of_its_own(tmp_path: Path) -> None:
    system = System(tmp_path, {"ALLOW_NETWORKS": "", "API_TOKENS": ",".join(TOKENS)})
    try:
        service, key = system.start(), new_key()
        first, other = (f"Bearer {token}" for token in TOKENS)
        task_id = id_of(submit(service, key, Authorization=first))
        assert id_of(submit(service, key, Authorization=f"bearer  {TOKENS[0]}")) == task_id
        assert id_of(submit(service, key, {"url": URL}, Authorization=other)) != task_id
    finally:
        system.stop()


@pytest.mark.parametrize("key", ['"a b"', r'"a\"b\\c"', "a", "a;b=c", '"~"', f'"{"k" * 255}"'])
def test_valid_keys_make_one_task(service: Service, key: str) -> None:
    order = {"url": f"{URL}?{uuid.uuid4()}"}
    assert id_of(submit(service, key, order)) == id_of(submit(service, key, order))


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', '"a', 'a"', "a b", r'"a\b"', '"a"b', '"a";b=c', "\xe4", '"\xe4"', "k" * 256],
)
def test_malformed_keys_are_refused(service: Service, key: str) -> None:
    response = submit(service, key)
    assert response.status_code == requests.codes.bad_request
    error = response.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_parameter", "Idempotency-Key")


def test_two_keys_are_refused(service: Service) -> None:
    connection = http.client.HTTPConnection(urlsplit(service.base).netloc, timeout=10)
    connection.putrequest("POST", f"/submit?url={URL}")
    for name in ("Idempotency-Key", "idempotency-key"):
        connection.putheader(name, '"a"')
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == requests.codes.bad_request
    assert json.loads(response.read())["error"]["code"] == "repeated_parameter"
    connection.close()


def test_repeated_submission_does_not_count_again(tmp_path: Path) -> None:
    system = System(tmp_path, {"ALLOW_NETWORKS": "", "SUBMITS_PER_MINUTE": "1"})
    try:
        service = system.start_service()
        key = new_key()
        first = id_of(submit(service, key))
        assert {id_of(submit(service, key)) for _ in range(3)} == {first}
        codes = {submit(service, new_key()).status_code for _ in range(3)}
        assert requests.codes.too_many_requests in codes
        assert submit(service, key, {"url": f"{URL}2"}).status_code == 422
    finally:
        system.close()
