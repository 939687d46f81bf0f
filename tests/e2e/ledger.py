"""What the system owes its users after any fault, and what a test does with its books."""

import email
import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from devtools.waiting import PATIENCE, wait_for
from tasks.step import MailStatus
from tasks.stores.contract import TaskStore
from tasks.stores.mongodb import MongoStore
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task


def assert_kept(
    system: System,
    tasks: Mapping[str, str],
    inbox: Inbox,
    *,
    most_mails: int = 1,
    seconds: float = PATIENCE,
) -> None:
    """Every task ends done, with the digest given by its id, and one mail; nothing is left over.

    A task that has an address is told of once, or up to `most_mails` times by the same mail.
    """
    with suppress(AssertionError):  # of which the next line tells more
        wait_for(lambda: not unsettled(system.store), seconds)
    assert unsettled(system.store) == []
    for task_id, md5 in tasks.items():
        answer = system.service.check(task_id)
        assert answer.status_code == HTTPStatus.OK, answer.text
        assert answer.json()["md5"] == md5
    mails = count_mails(inbox)
    assert set(mails) == {task.id for task in all_tasks(system.store) if task.email is not None}
    assert {task_id for task_id, count in mails.items() if count > most_mails} == set()
    if system.rabbitmq is not None:
        wait_for(lambda: not system.rabbitmq.waiting())  # type: ignore[union-attr]


def assert_done_and_mailed(store: TaskStore, bodies: Mapping[str, bytes], inbox: Inbox) -> None:
    """Each task, given by id with its file, is settled, with the right digest and one mail."""
    for task_id, body in bodies.items():
        task = wait_until_settled(store, task_id)
        assert task.digest is not None, task.failure
        assert task.digest.md5 == hashlib.md5(body).hexdigest()
        assert task.mail_status is MailStatus.SENT
    assert count_mails(inbox) == dict.fromkeys(bodies, 1)


def wait_until_settled(store: TaskStore, task_id: str) -> Task:
    def settled() -> Task | None:
        task = store.get(task_id)
        return task if task is not None and task.is_settled else None

    task = wait_for(settled)
    assert task is not None
    return task


def wait_for_first_mailing(store: TaskStore, task_id: str) -> Task:
    """The task when its first mailing has ended, one way or the other."""

    def tried() -> Task | None:
        task = store.get(task_id)
        return task if task is not None and (task.retry_at or task.is_settled) else None

    task = wait_for(tried)
    assert task is not None
    return task


def make_due(store: TaskStore, task: Task) -> None:
    """As if the time for the task's next try had come."""
    if not task.is_settled:
        assert store.save(replace(task, wake_at=store.now(), retry_at=store.now()))


def count_mails(inbox: Inbox) -> Counter[str]:
    """How many mails there are about each task; their Message-ID begins with the task's id."""
    return Counter(map(message_id, list(inbox.mails)))


def message_id(mail: bytes) -> str:
    """The id of the task that a mail is about."""
    header: str = email.message_from_bytes(mail)["Message-ID"]
    return header.strip("<>").partition("@")[0]


def all_tasks(store: TaskStore) -> list[Task]:
    """Also those whose submit was never answered."""
    if isinstance(store, MongoStore):
        ids = [document["_id"] for document in store._tasks.find({}, {"_id": True})]
    else:
        assert isinstance(store, SQLiteStore)
        with store._translated_errors(store._durable) as connection:
            ids = [row[0] for row in connection.execute("SELECT _id FROM tasks")]
    return [task for each in ids if (task := store.get(each)) is not None]


def unsettled(store: TaskStore) -> list[Task]:
    return [task for task in all_tasks(store) if not task.is_settled]


def make_all_due(store: TaskStore) -> None:
    """Make every task due that waits for its message.

    Members of batches are left out, because they wait for their lane. So are pauses that are not
    over: the message would be dropped, and then nothing looks at the task for minutes.
    """
    now = store.now()
    waiting = [
        replace(task, wake_at=now)
        for task in unsettled(store)
        if task.next_step is not None and task.member is None and not task.is_pausing(now)
    ]
    store.mark_dispatched(waiting)


def let_hours_pass(store: TaskStore) -> None:
    """Make waiting tasks due again and again, until all are settled.

    Those that become due while the messages of others are in the queue are put off by five minutes.
    """

    def is_over() -> bool:
        make_all_due(store)
        return not unsettled(store)

    wait_for(is_over)


def submit_all(service: Service, origin: Origin, files: Mapping[str, bytes]) -> dict[str, str]:
    """Submit a task with an address for each file; return the digests that are due, by id."""
    return {
        service.submit(f"{origin.base}{path}", email="user@example.com"): (
            hashlib.md5(body).hexdigest()
        )
        for path, body in files.items()
    }
