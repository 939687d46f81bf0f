"""What one client, and all of them, may ask for."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from devtools.waiting import wait_for, wait_for_a_fresh_minute
from tests.e2e.batches import try_to_submit_list
from tests.wire import exchange, status_of

Serve = Callable[[Mapping[str, bytes]], Origin]

URL = "http://127.0.0.1:1025/never-fetched"
TOKEN = "a-token-of-the-tests"


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[System]:
    """An embedded system that reaches nothing."""
    system = System(tmp_path, {"ALLOW_NETWORKS": ""})
    yield system
    system.stop()


def submit(service: Service, headers: Mapping[str, str] | None = None) -> requests.Response:
    return requests.post(f"{service.base}/submit", data={"url": URL}, headers=headers, timeout=10)


def test_client_over_its_limit_gets_retry_after(lone: System) -> None:
    service = lone.start_service(SUBMITS_PER_MINUTE="3")
    wait_for_a_fresh_minute()

    answers = [submit(service) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert answers[3].json()["error"]["code"] == "rate_limited"
    assert 0 < int(answers[3].headers["Retry-After"]) <= 60


def test_refused_submissions_count(lone: System) -> None:
    service = lone.start_service(SUBMITS_PER_MINUTE="3")
    wait_for_a_fresh_minute()
    bad = [service.try_to_submit("ftp://example.com/") for _ in range(2)]
    bad.append(requests.post(f"{service.base}/submit", data="{", timeout=10))
    assert [answer.status_code for answer in bad] == [400, 400, 400]
    for answer in (service.try_to_submit("ftp://example.com/"), submit(service)):
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limited"
        assert int(answer.headers["Retry-After"]) > 0
    assert service.check("x").status_code == 404


def test_bodies_that_are_too_large_count(lone: System) -> None:
    """Whether their length is stated or not."""
    service = lone.start_service(SUBMITS_PER_MINUTE="3")
    wait_for_a_fresh_minute()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = (b"urls=" + b"%23" * 2**20 for _ in range(2))  # in chunks
    answer = requests.post(f"{service.base}/submit", data=body, headers=form, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    bad = b"POST /submit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n"
    assert status_of(exchange(service, bad, seconds=20)) == 400
    stated = b"POST /submit HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n"
    assert status_of(exchange(service, stated, seconds=20)) == 413
    assert submit(service).status_code == 429


def test_processes_count_together(lone: System) -> None:
    first = lone.start_service(SUBMITS_PER_MINUTE="3")
    second = lone.start_service(SUBMITS_PER_MINUTE="3")
    wait_for_a_fresh_minute()
    codes = [submit(service).status_code for service in (first, second, first, second)]
    assert codes == [202, 202, 202, 429]


@pytest.mark.parametrize(
    ("proxies", "own", "other", "codes"),
    [
        ("1", "203.0.113.1", "203.0.113.2", [202, 202, 429]),
        ("1", "1.2.3.4, 203.0.113.1", "203.0.113.2", [202, 202, 429]),
        ("1", "203.0.113.1:1024", "203.0.113.2:1024", [202, 202, 429]),
        ("1", "2001:db8:1:2::3", "2001:db8:1:3::3", [202, 202, 429]),
        ("1", "[2001:db8:1:2::3]:1024", "[2001:db8:1:3::3]:1024", [202, 202, 429]),
        ("0", "203.0.113.1", "203.0.113.2", [202, 429, 429]),
    ],
    ids=["one proxy", "a forged address", "a port", "IPv6", "IPv6 with a port", "no proxy"],
)
def test_the_client_behind_a_proxy(
    lone: System, proxies: str, own: str, other: str, codes: list[int]
) -> None:
    service = lone.start_service(SUBMITS_PER_MINUTE="1", PROXIES_COUNT=proxies)
    wait_for_a_fresh_minute()
    again = (
        own.replace("1.2.3.4", "5.6.7.8").replace("::3", "::4").replace("1024", "1025")
    )  # what the client can choose
    answers = [submit(service, {"X-Forwarded-For": each}) for each in (own, other, again)]
    assert [answer.status_code for answer in answers] == codes


def test_subnets_of_one_site_have_a_limit_together(lone: System) -> None:
    service = lone.start_service(SUBMITS_PER_MINUTE="1", PROXIES_COUNT="1")
    wait_for_a_fresh_minute()
    codes = [
        submit(service, {"X-Forwarded-For": f"2001:db8:1:{subnet:x}::1"}).status_code
        for subnet in range(18)
    ]
    assert codes == [202] * 16 + [429] * 2
    assert submit(service, {"X-Forwarded-For": "2001:db8:2::1"}).status_code == 202


def test_strange_address_does_not_affect_others(lone: System) -> None:
    service = lone.start_service(PROXIES_COUNT="1")
    for strange in ("unknown", "a" * 5000, "caf\xe9", "[]:1", "[", ",", "," * 5000, "::1%25x"):
        answer = submit(service, {"X-Forwarded-For": strange})
        assert answer.status_code == 202, answer.text


def test_too_many_unfinished_tasks(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": b"x" * 1000})
    origin.may_finish.clear()
    service = embedded.start_service(MAX_UNFINISHED="3")
    tasks = [service.submit(f"{origin.base}/file") for _ in range(3)]

    refused = service.try_to_submit(f"{origin.base}/file")

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "too_many_unfinished"
    assert int(refused.headers["Retry-After"]) > 0
    origin.may_finish.set()
    for task_id in tasks:
        service.wait_for_end(task_id)
    wait_for(lambda: service.try_to_submit(f"{origin.base}/file").status_code == 202)


def test_members_of_a_batch_count_as_unfinished(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": b"x" * 1000})
    origin.may_finish.clear()
    service = embedded.start_service(MAX_UNFINISHED="20")
    lines = f"{origin.base}/file\n" * 12
    assert try_to_submit_list(service, lines).status_code == 202
    refused = try_to_submit_list(service, lines)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "too_many_unfinished"
    assert int(refused.headers["Retry-After"]) > 0


def test_a_batch_is_one_submission(lone: System) -> None:
    service = lone.start_service(SUBMITS_PER_MINUTE="2")
    wait_for_a_fresh_minute()
    answers = [try_to_submit_list(service, f"{URL}\n" * 5) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["error"]["code"] == "rate_limited"


def test_the_oldest_settled_tasks_are_forgotten_above_max_stored(
    system: System, serve: Serve
) -> None:
    origin = serve({"/file": b"x" * 1000})
    system.environ["MAX_STORED"] = "4"
    service = system.start()
    settled = [service.submit("http://10.0.0.1/") for _ in range(3)]
    for task_id in settled:
        service.wait_for_end(task_id)
    origin.may_finish.clear()
    unfinished = [service.submit(f"{origin.base}/file") for _ in range(5)]

    for task_id in settled:
        wait_for(lambda task_id=task_id: service.check(task_id).status_code == 404)  # type: ignore[misc]
    for task_id in unfinished:
        assert service.check(task_id).status_code == 202
    origin.may_finish.set()
    for task_id in unfinished:
        service.wait_for_end(task_id)
    wait_for(lambda: [service.check(each).status_code for each in unfinished].count(404) == 1)


def test_a_mail_over_the_limit_waits_and_says_so(
    system: System, serve: Serve, inbox: Inbox
) -> None:
    origin = serve({"/file": b"x"})
    system.environ["MAILS_PER_HOUR"] = "2"
    service = system.start()
    # In one hour, of which the limit has a window.
    wait_for(lambda: (datetime.now(UTC).minute, datetime.now(UTC).second) < (59, 30), 40)

    addresses = ["a@example.com", "A+b@Example.com", "a+c@example.com", "other@example.com"]
    tasks = [service.submit(f"{origin.base}/file", email=email) for email in addresses]

    def count(status: str) -> int:
        return [service.check(each).json().get("mail_status") for each in tasks].count(status)

    wait_for(lambda: count("sent") == 3, 60)
    wait_for(lambda: count("delayed") == 1)
    assert len(inbox.mails) == 3
    assert "other@example.com" in inbox.recipients


def test_without_a_token_there_are_only_answers_about_health(lone: System) -> None:
    service = lone.start_service(API_TOKENS=f"another-token-of-16, {TOKEN}")

    for path in ("/check", "/submit", "/", "/nowhere"):
        for authorization in (None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer"):
            headers = {"Authorization": authorization} if authorization else {}
            answer = requests.post(f"{service.base}{path}", headers=headers, timeout=10)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "unauthorized"
    for path in ("/health/live", "/health/ready"):
        assert requests.get(f"{service.base}{path}", timeout=10).status_code == 200

    for authorization in (f"Bearer {TOKEN}", f"bearer {TOKEN}", "Bearer another-token-of-16"):
        assert submit(service, {"Authorization": authorization}).status_code == 202


def test_a_client_that_causes_too_many_mails_is_refused(lone: System) -> None:
    service = lone.start_service(MAILS_PER_HOUR_OF_CLIENT="3")

    answers = [service.try_to_submit(URL, email=f"user{number}@example.com") for number in range(9)]

    assert {answer.status_code for answer in answers} == {202, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 3 <= len(refused) <= 6  # the hour may turn once in between
    assert refused[0].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 3600 * 3
    assert submit(service).status_code == 202
