"""DELETE /check: what is cancelled stops, and never comes back."""

import csv
import io
import signal
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import HttpOrigin, Origin, head
from devtools.servers.system import REPLY_SECONDS, Service
from devtools.waiting import PATIENCE, wait_for
from tasks.step import MailStatus
from tests.e2e.batches import export, submit_list
from tests.e2e.ledger import all_tasks, message_id, unsettled
from tests.e2e.scraping import scrape

Serve = Callable[[Mapping[str, bytes]], Origin]

EMAIL = "user@example.com"
STOP_SECONDS = 15.0  # 3 on an idle machine


class EndlessOrigin(HttpOrigin):
    """Sends the first half of a file, and then waits until the client hangs up."""

    def __init__(self) -> None:
        self.hung_up = 0
        super().__init__()

    def answer(self, connection: socket.socket, path: str) -> None:
        del path
        connection.sendall(head("200 OK", 2_000_000) + bytes(1_000_000))
        try:
            connection.recv(1)
        finally:
            self.hung_up += 1
        raise EOFError


@pytest.fixture
def endless() -> Iterator[EndlessOrigin]:
    origin = EndlessOrigin()
    yield origin
    origin.stop()


def cancel(service: Service, task_id: str, **headers: str) -> requests.Response:
    return requests.delete(
        f"{service.base}/check", params={"id": task_id}, headers=headers, timeout=REPLY_SECONDS
    )


def assert_cancelled(service: Service, task_id: str) -> None:
    checked = service.check(task_id)
    assert checked.status_code == HTTPStatus.FAILED_DEPENDENCY
    assert checked.json()["error"] == {"code": "cancelled", "message": "The task was cancelled."}


def assert_only_mail(service: Service, inbox: Inbox, url: str) -> None:
    """A mail about a later task comes, and no other."""
    last = service.submit(url, email=EMAIL)
    wait_for(lambda: inbox.mails)
    assert [message_id(mail) for mail in inbox.mails] == [last]


def test_a_running_download_stops(
    system: System, endless: EndlessOrigin, serve: Serve, inbox: Inbox
) -> None:
    system.environ["LEASE"] = "30s"
    service, quick = system.start(), serve({"/file": b"x"})
    task_id = service.submit(f"{endless.base}/file", email=EMAIL)
    wait_for(lambda: service.check(task_id).json().get("bytes_done"))

    answer = cancel(service, task_id)

    assert answer.status_code == HTTPStatus.OK
    assert answer.json() == service.check(task_id).json()
    assert_cancelled(service, task_id)
    wait_for(lambda: endless.hung_up, STOP_SECONDS)
    assert_only_mail(service, inbox, f"{quick.base}/file")
    assert_cancelled(service, task_id)
    assert len(endless.requests) == 1
    ended = 'md5_light_tasks_ended_total{code="cancelled",status="failed"}'
    assert scrape(service.base)[ended] == 1
    assert cancel(service, task_id).json() == answer.json()


@pytest.mark.services
def test_a_queued_task_is_never_downloaded(distributed: System, serve: Serve, inbox: Inbox) -> None:
    service, origin = distributed.start_service(), serve({"/file": b"x", "/last": b"y"})
    task_id = service.submit(f"{origin.base}/file", email=EMAIL)
    assert cancel(service, task_id).status_code == HTTPStatus.OK
    distributed.start_workers()
    assert_only_mail(service, inbox, f"{origin.base}/last")
    assert_cancelled(service, task_id)
    assert origin.requests == ["/last"]


def test_a_retry_does_not_follow(system: System) -> None:
    system.environ["RETRY_BASE"] = "1s"
    service = system.start()
    with socket.socket() as refusing:  # bound, but not listening
        refusing.bind(("127.0.0.1", 0))
        task_id = service.submit(f"http://127.0.0.1:{refusing.getsockname()[1]}/")
        wait_for(lambda: service.check(task_id).json().get("retry_at"))
        assert cancel(service, task_id).status_code == HTTPStatus.OK
    assert_cancelled(service, task_id)
    (task,) = all_tasks(system.store)
    assert task.is_settled
    assert task.retry_at is None


def test_what_has_ended_stays_as_it_is(system: System, serve: Serve, inbox: Inbox) -> None:
    service, origin = system.start(), serve({"/file": b"x"})
    inbox.may_answer.clear()
    done = service.submit(f"{origin.base}/file", email=EMAIL)
    failed = service.submit(f"{origin.base}/missing")
    ended = {each: service.wait_for_end(each) for each in (done, failed)}
    wait_for(lambda: inbox.sessions)
    for task_id, before in ended.items():
        answer = cancel(service, task_id)
        assert answer.status_code == HTTPStatus.OK
        assert answer.json()["status"] == before.json()["status"]
        assert service.check(task_id).status_code == before.status_code
    inbox.may_answer.set()
    wait_for(lambda: service.check(done).json()["mail_status"] == MailStatus.SENT)


def test_a_kill_during_the_cancellation_of_a_batch_lets_no_mail_follow(
    system: System, serve: Serve, inbox: Inbox
) -> None:
    service, origin = system.start(), serve({"/file": b"x"})
    origin.may_finish.clear()
    batch_id = submit_list(service, [f"{origin.base}/file"], email=EMAIL)

    def gives_up_the_mail() -> bool:
        batch = system.store.get(batch_id)
        assert batch is not None
        return system.store.save(batch.without_deliveries()) is not None

    wait_for(gives_up_the_mail)  # which is the first write of a cancellation
    origin.may_finish.set()
    wait_for(lambda: not unsettled(system.store))
    assert service.check(batch_id).json()["mail_status"] == MailStatus.REFUSED
    assert inbox.mails == []


def test_a_batch_ends_with_what_it_has(
    system: System, endless: EndlessOrigin, serve: Serve, inbox: Inbox
) -> None:
    service, quick = system.start(), serve({"/file": b"x"})
    lines = [f"{quick.base}/file", *(f"{endless.base}/{number}" for number in range(20))]
    batch_id = submit_list(service, lines, email=EMAIL)
    wait_for(lambda: service.check(batch_id).json()["tasks"]["done"] == 1 and endless.requests)

    answer = cancel(service, batch_id)

    assert answer.status_code == HTTPStatus.OK
    assert answer.json() == service.check(batch_id).json()
    assert answer.json()["status"] == "done"
    assert answer.json()["tasks"] == {"total": 21, "running": 0, "done": 1, "failed": 20}
    rows = list(csv.DictReader(io.StringIO(export(service, batch_id).text)))
    assert [row["error"] for row in rows] == ["", *["cancelled"] * 20]
    wait_for(lambda: endless.hung_up == len(endless.requests), STOP_SECONDS)
    wait_for(lambda: not unsettled(system.store))
    begun = len(endless.requests)
    assert_only_mail(service, inbox, f"{quick.base}/file")
    assert len(endless.requests) == begun < 20
    assert cancel(service, batch_id).json()["tasks"] == answer.json()["tasks"]


@pytest.mark.services
def test_a_long_list_is_cancelled_with_a_few_operations(
    distributed: System, mongod: Mongod, endless: EndlessOrigin
) -> None:
    service = distributed.start()
    lines = [f"{endless.base}/{number}" for number in range(3000)]
    batch_id = submit_list(service, lines)
    wait_for(lambda: endless.requests)
    distributed.workers.signal_all(signal.SIGSTOP)  # only the operations of the service count

    before = mongod.command("serverStatus")["opcounters"]
    answer = cancel(service, batch_id)
    after = mongod.command("serverStatus")["opcounters"]
    distributed.workers.signal_all(signal.SIGCONT)

    assert answer.json()["tasks"] == {"total": 3000, "running": 0, "done": 0, "failed": 3000}
    assert after["update"] - before["update"] < 50
    assert after["query"] - before["query"] < 50


def test_whoever_waits_learns_of_it(system: System, endless: EndlessOrigin) -> None:
    service = system.start()
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(
            requests.post,
            f"{service.base}/submit",
            data={"url": endless.base},
            headers={"Prefer": "wait=60"},
            timeout=PATIENCE,
        )
        wait_for(lambda: endless.requests)
        (task,) = all_tasks(system.store)
        cancel(service, task.id)
        assert answer.result().json()["error"]["code"] == "cancelled"


def test_only_a_known_task_is_cancelled(embedded: System) -> None:
    embedded.environ["API_TOKENS"] = "a-token-of-the-tests"
    service, token = embedded.start(), {"Authorization": "Bearer a-token-of-the-tests"}
    unknown = cancel(service, str(uuid.uuid4()), **token)
    assert (unknown.status_code, unknown.json()["status"]) == (HTTPStatus.NOT_FOUND, "not_found")
    assert cancel(service, "", **token).status_code == HTTPStatus.BAD_REQUEST
    refused = cancel(service, str(uuid.uuid4()))
    assert refused.status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.services
def test_three_hundred_cancels_under_kills(distributed: System, serve: Serve, inbox: Inbox) -> None:
    """Whoever is killed, a cancelled task neither comes back nor sends a mail."""
    files = {f"/{number}": bytes([number % 256]) * 200_000 for number in range(300)}
    origin = serve(files)
    service = distributed.start_service()
    workers = distributed.start_workers(processes=2, threads=8)
    urls = [f"{origin.base}{path}" for path in files]
    ids = [service.submit(url, email=EMAIL) for url in urls[:30]]
    wait_for(lambda: len(origin.requests) == 30)
    origin.may_finish.clear()  # what is not done by now waits to be cancelled
    ids += [service.submit(url, email=EMAIL) for url in urls[30:]]
    answered: dict[str, dict[str, object]] = {}

    def cancel_until_answered(task_id: str) -> None:
        def try_to_cancel() -> bool:
            try:
                answer = cancel(distributed.service, task_id)
            except requests.RequestException:
                return False  # the service was killed
            if answer.status_code == HTTPStatus.OK:
                answered[task_id] = answer.json()
            return answer.status_code == HTTPStatus.OK

        wait_for(try_to_cancel)

    with ThreadPoolExecutor(4) as clients:
        ends = [clients.submit(cancel_until_answered, each) for each in reversed(ids)]
        for share in (30, 90, 150, 210):
            wait_for(lambda share=share: len(answered) > share)  # type: ignore[misc]
            workers.signal_all(signal.SIGKILL)
            distributed.service.kill()
            distributed.start_service()
            workers = distributed.start_workers(processes=2, threads=8)
        for end in ends:
            end.result()

    wait_for(lambda: not unsettled(distributed.store))
    cancelled = {each for each, body in answered.items() if body["status"] == "failed"}
    assert len(cancelled) > 200
    for task_id in cancelled:
        assert_cancelled(distributed.service, task_id)
    for task_id in answered.keys() - cancelled:
        assert distributed.service.check(task_id).json()["md5"] == answered[task_id]["md5"]
    assert {message_id(mail) for mail in inbox.mails} == answered.keys() - cancelled
