"""The whole job as a user sees it: submit, check, mail; in both deployments."""

import email
import email.policy
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.process import Process, free_port
from devtools.waiting import wait_for

Serve = Callable[[Mapping[str, bytes]], Origin]
Run = Callable[..., str]

BODY = bytes(range(256)) * 5000
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def run_curl(curl: str) -> Run:
    """Run curl as a user does, and return its output."""

    def run(*arguments: str) -> str:
        command = [curl, "--silent", "--show-error", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


def test_the_assignments_session(system: System, serve: Serve, inbox: Inbox, run_curl: Run) -> None:
    origin = serve({"/file.txt": BODY})
    origin.may_finish.clear()
    service = system.start()
    url = f"{origin.base}/file.txt"

    answer = run_curl(
        "-X", "POST", "-d", f"email=user@example.com&url={url}", f"{service.base}/submit"
    )
    assert answer.startswith('{"id":"')
    task_id = answer.removeprefix('{"id":"').removesuffix('"}')
    assert run_curl("-X", "GET", f"{service.base}/check?id={task_id}").startswith(
        '{"status":"running"'
    )
    origin.may_finish.set()
    service.wait_for_end(task_id)
    assert run_curl("-X", "GET", f"{service.base}/check?id={task_id}").startswith(
        f'{{"md5":"{MD5}","status":"done","url":"{url}"'
    )

    wait_for(lambda: inbox.mails)
    mail = email.message_from_bytes(inbox.mails[0], policy=email.policy.default)
    assert mail["To"] == "user@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert task_id in mail["Message-ID"]
    assert "/file.txt" in mail.get_content()
    assert MD5 in mail.get_content()


def test_failure_is_reported_and_mailed(system: System, serve: Serve, inbox: Inbox) -> None:
    origin = serve({})
    service = system.start()

    task_id = service.submit(f"{origin.base}/missing", email="user@example.com")

    response = service.wait_for_end(task_id)
    assert response.status_code == requests.codes.failed_dependency
    assert response.json()["error"] == {
        "code": "http_status",
        "message": "The server answered 404 instead of 200.",
        "http_status": 404,
    }
    wait_for(lambda: inbox.mails)
    assert b"The server answered 404" in inbox.mails[0]


def test_the_progress_of_a_running_task(system: System, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    service = system.start()

    task_id = service.submit(f"{origin.base}/file")

    progress = wait_for(lambda: service.check(task_id).json().get("bytes_done"))
    body = service.check(task_id).json()
    assert body["status"] == "running"
    assert body["attempt"] == 1
    assert 0 < progress <= body["bytes_done"] < body["bytes_total"] == len(BODY)
    assert service.check(task_id).headers["Retry-After"] == "1"


def test_an_expected_digest_is_verified(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    service = embedded.start()

    right = service.submit(f"{origin.base}/file", md5=MD5.upper())
    wrong = service.submit(f"{origin.base}/file", md5="0" * 32)

    assert service.wait_for_end(right).json()["verified"] is True
    assert service.wait_for_end(wrong).json()["verified"] is False


def test_a_private_address_is_refused(tmp_path: Path, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    system = System(tmp_path, {"ALLOW_NETWORKS": ""})
    try:
        service = system.start()
        task_id = service.submit(f"{origin.base}/file")
        error = service.wait_for_end(task_id).json()["error"]
    finally:
        system.stop()
    assert error["code"] == "blocked_address"
    assert "127" not in error["message"]
    assert origin.requests == []


def test_mails_are_files_without_a_mail_server(tmp_path: Path, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    system = System(tmp_path, {})
    try:
        service = system.start()
        task_id = service.submit(f"{origin.base}/file", email="user@example.com")
        path = tmp_path / "data" / "mail" / f"{task_id}.eml"
        wait_for(path.exists)
        assert MD5 in path.read_text()
        wait_for(lambda: str(path) in service.output)
    finally:
        system.stop()


def test_memory_stays_flat_for_a_gibibyte(embedded: System) -> None:
    service = embedded.start_service(WORKER_THREADS="1")  # the same thread for both downloads
    megabyte = bytes(2**20)
    with Origin({"/small": megabyte * 10, "/big": megabyte * 1024}) as origin:
        service.wait_for_end(service.submit(f"{origin.base}/small"))
        before = service.peak_memory()
        response = service.wait_for_end(service.submit(f"{origin.base}/big"), 60)
        after = service.peak_memory()
    assert response.json()["size"] == 2**30
    assert response.json()["md5"] == "cd573cfaace07e7949bc0c46028904ff"
    assert after - before < 8 * 2**20


def test_workers_name_the_missing_setting(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dramatiq", "actors", "-p", "1"]
    workers = Process(command, tmp_path / "workers", System(tmp_path, {}).environ)
    assert workers.wait() != 0
    assert "RABBITMQ_URL is not set" in workers.output


def test_a_bad_setting_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name, value in (("MAX_BYTES", "many"), ("PORT", port), ("DATA_DIR", str(file))):
            environ = {**System(tmp_path, {}).environ, "PORT": str(free_port()), name: value}
            service = Process([sys.executable, "-m", "service"], tmp_path / name, environ)
            assert service.wait() != 0
            assert name in service.output
            assert "Traceback" not in service.output


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_line_about_a_task_names_it(
    system: System, serve: Serve, inbox: Inbox, form: str
) -> None:
    origin = serve({"/file": BODY})
    system.environ["LOG_FORMAT"] = form
    service = system.start()
    url = f"{origin.base}/file?token=s3cret"
    tasks = [service.submit(url, email="user@example.com") for _ in range(3)]
    wait_for(lambda: len(inbox.mails) == len(tasks))

    def lines() -> list[str]:
        return "".join(process.output for process in system.processes).splitlines()

    wait_for(lambda: len([line for line in lines() if "mail sent" in line]) == len(tasks))
    about = [line for line in lines() if re.search("worker.steps.(compute_md5|send_email)", line)]
    if form == "json":
        named = [json.loads(line)["task_id"] for line in about]
        masters = [line for line in lines() if not line.startswith("{")]
        assert all("dramatiq.MainProcess" in line for line in masters)
    else:
        named = [line.rpartition(" task=")[2] for line in about]
    assert sorted(named) == sorted(2 * tasks)
    assert "s3cret" not in "".join(lines())
    assert any("mails by SMTP" in line and "tasks in" in line for line in lines())


def test_several_web_workers(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    service = embedded.start_service(WEB_WORKERS="2")
    wait_for(lambda: service.output.count("Worker ready") == 2)
    tasks = [service.submit(f"{origin.base}/file") for _ in range(10)]
    assert {service.wait_for_end(task_id).json()["md5"] for task_id in tasks} == {MD5}
    service.send(signal.SIGINT)
    assert service.wait() == 0


def test_ctrl_c_stops_the_service_cleanly(embedded: System, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    service = embedded.start()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: origin.requests)

    service.send(signal.SIGINT)

    assert service.wait() == 0
    assert "Traceback" not in service.output
    origin.may_finish.set()
    service = embedded.start()
    response = service.wait_for_end(task_id)
    assert response.json()["md5"] == MD5
    assert urlsplit(response.json()["url"]).path == "/file"
