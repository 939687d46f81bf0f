"""The mail server is away, busy, silent or picky: results are there at once, mails in the end."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest
import trustme

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from tasks.step import MailStatus, StepKind
from tests.e2e.ledger import (
    assert_done_and_mailed,
    make_due,
    wait_for_first_mailing,
    wait_until_settled,
)
from tests.examples import attempts_at
from tests.faults.smtp import (
    Fault,
    busy,
    closed,
    locked,
    mute,
    replying,
    silent,
    with_a_bad_certificate,
    with_tls,
)

BODY = b"to be hashed" * 10_000


@pytest.fixture(scope="module")
def shared_inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    inbox.knows_us = True
    yield inbox
    inbox.stop()


@pytest.fixture
def inbox(shared_inbox: Inbox) -> Inbox:
    """The same for all tests of this module, as the running system is."""
    shared_inbox.mails.clear()
    return shared_inbox


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whose certificates the running system trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, shared_inbox: Inbox, authority: trustme.CA
) -> Iterator[tuple[System, Service]]:
    folder = tmp_path_factory.mktemp("running")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    settings = {
        "SMTP_URL": shared_inbox.url.replace("://", "://us:secret@"),
        "SSL_CERT_FILE": str(folder / "authority.pem"),
    }
    system = System(folder, settings)
    yield system, system.start_service()
    system.close()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin({"/file": BODY}) as origin:
        yield origin


TRANSIENT = [
    closed,
    busy,
    with_a_bad_certificate,
    locked,
    replying("MAIL", "550 we do not know you"),
    replying("RCPT", "421 closing"),
    replying("RCPT", "450 greylisted"),
    replying("DATA", "421 closing"),
    replying("DATA", "451 try again"),
    replying("DATA", ""),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: fault.__name__)
def test_one_mail_arrives_after_the_server_recovers(
    running: tuple[System, Service], origin: Origin, inbox: Inbox, fault: Fault
) -> None:
    system, service = running
    store = system.store
    with fault(inbox):
        task_id = service.submit(f"{origin.base}/file", email="a@example.com")
        assert service.wait_for_end(task_id).status_code == HTTPStatus.OK
        task = wait_for_first_mailing(store, task_id)
        assert inbox.mails == []
    make_due(store, task)
    assert_done_and_mailed(system.store, {task_id: BODY}, inbox)


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["550 no such user", "552 mailbox full"])
def test_a_refusal_of_the_recipient_ends_it(
    running: tuple[System, Service], origin: Origin, inbox: Inbox, command: str, reply: str
) -> None:
    system, service = running
    with replying(command, reply)(inbox):
        task_id = service.submit(f"{origin.base}/file", email="a@example.com")
        task = wait_until_settled(system.store, task_id)
    assert task.mail_status is MailStatus.REFUSED
    assert attempts_at(task, StepKind.SEND_EMAIL) == 1
    assert service.check(task_id).status_code == HTTPStatus.OK
    assert inbox.mails == []


def test_mail_over_starttls(
    running: tuple[System, Service], origin: Origin, inbox: Inbox, authority: trustme.CA
) -> None:
    system, service = running
    with with_tls(inbox, authority):
        task_id = service.submit(f"{origin.base}/file", email="a@example.com")
        assert_done_and_mailed(system.store, {task_id: BODY}, inbox)


@pytest.mark.parametrize("fault", [silent, mute])
def test_a_silent_mail_server_holds_up_no_downloads(
    running: tuple[System, Service], origin: Origin, inbox: Inbox, fault: Fault
) -> None:
    """There are more mails than threads; each waits half a minute for a word."""
    system, service = running
    store = system.store
    with fault(inbox):
        tasks = [service.submit(f"{origin.base}/file", email="a@example.com") for _ in range(12)]
        for task_id in tasks:
            assert service.wait_for_end(task_id, 20).status_code == HTTPStatus.OK
    for task_id in tasks:
        make_due(store, wait_for_first_mailing(store, task_id))
    assert_done_and_mailed(system.store, dict.fromkeys(tasks, BODY), inbox)
