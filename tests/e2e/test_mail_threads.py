"""Downloads and mails run on threads of their own, and neither waits for the other."""

import signal
from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from tasks.step import MailStatus, StepKind
from tests.e2e.ledger import all_tasks
from tests.examples import attempts_at

Serve = Callable[[Mapping[str, bytes]], Origin]

SILENT = 20  # more than there are threads for mails
SPOKEN_TO = 29


def test_a_silent_mail_server_delays_neither_downloads_nor_other_mails(
    system: System, inbox: Inbox, serve: Serve
) -> None:
    """Each silent session would last 30 s, which no other mail waits for."""
    origin = serve({"/file": b"x"})
    service = system.start()
    tasks = [
        service.submit(f"{origin.base}/file", email=f"silent{number}@example.com")
        for number in range(SILENT)
    ]
    wait_for(
        lambda: (
            sum(attempts_at(task, StepKind.SEND_EMAIL) for task in all_tasks(system.store)) >= 16
        )
    )
    tasks += [
        service.submit(f"{origin.base}/file", email=f"user{number}@example.com")
        for number in range(SPOKEN_TO)
    ]
    for task_id in tasks:
        assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
    wait_for(lambda: len(inbox.mails) == SPOKEN_TO)
    running = "".join(process.output for process in system.processes)
    assert "the mail server was silent while other mails waited" in running


def test_a_mail_goes_out_while_all_threads_download(
    system: System, inbox: Inbox, serve: Serve
) -> None:
    slow, quick = serve({"/slow": b"slow" * 1000}), serve({"/quick": b"quick"})
    service = system.start()
    first = service.submit(f"{quick.base}/quick", email="user@example.com")
    wait_for(lambda: system.store.get(first).digest)  # type: ignore[union-attr]
    slow.may_finish.clear()
    for _ in range(12):  # more than there are threads for downloads
        service.submit(f"{slow.base}/slow")
    wait_for(lambda: len(slow.requests) == 10)
    wait_for(lambda: len(inbox.mails) == 1)
    slow.may_finish.set()


@pytest.mark.services
def test_nothing_waits_in_a_busy_process_while_another_one_is_free(
    distributed: System, inbox: Inbox, serve: Serve
) -> None:
    slow, quick = serve({"/slow": b"slow" * 1000}), serve({"/quick": b"quick"})
    slow.may_finish.clear()
    service = distributed.start_service()
    distributed.start_workers(threads=2)
    for _ in range(2):
        service.submit(f"{slow.base}/slow", email="slow@example.com")
    wait_for(lambda: len(slow.requests) == 2)
    distributed.start_workers(threads=2)
    tasks = [
        service.submit(f"{quick.base}/quick", email=f"user{number}@example.com")
        for number in range(8)
    ]
    for task_id in tasks:
        assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
    wait_for(lambda: len(inbox.mails) == 8)
    slow.may_finish.set()
    wait_for(lambda: len(inbox.mails) == 10)


@pytest.mark.services
def test_a_busy_process_that_reconnects_takes_nothing_from_an_idle_one(
    distributed: System, rabbitmq: RabbitMQ, inbox: Inbox, serve: Serve
) -> None:
    slow, quick = serve({"/slow": b"slow" * 1000}), serve({"/quick": b"quick"})
    slow.may_finish.clear()
    service = distributed.start_service()
    busy = distributed.start_workers(threads=2)
    for _ in range(2):
        service.submit(f"{slow.base}/slow")
    wait_for(lambda: len(slow.requests) == 2)
    connections = rabbitmq.control("list_connections", "--no-table-headers", "pid").split()
    idle = distributed.start_workers(threads=2)
    before = len(busy.output)

    for connection in connections:
        rabbitmq.control("close_connection", connection, "test")
    # The worker logs a closed connection as it was told, or as a lost stream.
    wait_for(lambda: "the broker is unreachable" in busy.output[before:])
    wait_for(lambda: "the broker has recovered" in busy.output[before:])
    wait_for(lambda: rabbitmq.consumers("compute_md5") == 2)
    tasks = [
        service.submit(f"{quick.base}/quick", email=f"user{number}@example.com")
        for number in range(8)
    ]

    for task_id in tasks:
        assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
    wait_for(lambda: len(inbox.mails) == 8)
    # Its threads take messages again once they are free.
    slow.may_finish.set()
    idle.kill()
    last = service.submit(f"{quick.base}/quick")
    assert service.wait_for_end(last).status_code == HTTPStatus.OK


def stop(system: System) -> int:
    """Return the exit code of the process with the mail threads.

    It ends within seconds, before a silent session would time out by itself.
    """
    process = system.workers if system.is_distributed else system.service
    process.send(signal.SIGTERM)
    return process.wait(25)


def test_a_stop_waits_for_a_mail_under_way(system: System, inbox: Inbox, serve: Serve) -> None:
    origin = serve({"/file": b"x"})
    inbox.delay = 2.0
    service = system.start()
    service.submit(f"{origin.base}/file", email="user@example.com")
    wait_for(lambda: inbox.asked)

    assert stop(system) == 0

    (task,) = all_tasks(system.store)
    assert task.mail_status is MailStatus.SENT
    assert len(inbox.mails) == 1


def test_a_worker_that_was_frozen_sends_no_second_mail(
    distributed: System, inbox: Inbox, serve: Serve
) -> None:
    """Its session with the mail server outlives its lease."""
    origin, service = serve({"/file": b"x"}), distributed.start_service()
    frozen = distributed.start_workers()
    inbox.may_accept.clear()
    service.submit(f"{origin.base}/file", email="user@example.com")
    wait_for(lambda: inbox.asked)
    frozen.signal_all(signal.SIGSTOP)
    try:
        inbox.may_accept.set()
        distributed.start_workers()
        wait_for(lambda: inbox.mails)
    finally:
        frozen.signal_all(signal.SIGCONT)
    wait_for(lambda: "the claim is lost" in frozen.output)
    frozen.stop()
    assert "Traceback" not in frozen.output
    assert len(inbox.mails) == 1


def test_a_stop_ends_the_sessions_of_a_silent_mail_server(
    system: System, inbox: Inbox, serve: Serve
) -> None:
    origin = serve({"/file": b"x"})
    service = system.start()
    for _ in range(3):
        service.submit(f"{origin.base}/file", email="silent@example.com")
    wait_for(lambda: inbox.silences == 3)

    assert stop(system) == 0

    left = all_tasks(system.store)
    assert [task.mail_status for task in left] == [MailStatus.PENDING] * 3
    assert all(task.retry_at for task in left)
