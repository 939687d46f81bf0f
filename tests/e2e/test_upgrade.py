"""What release 1.0 has stored keeps its answers and runs on; what a newer one stores is left."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.mongod import Mongod
from devtools.servers.origin import Origin
from devtools.servers.process import free_port
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from tasks.step import MailStatus, Status
from tasks.stores.document import FORMAT
from tests import stored
from tests.e2e.ledger import count_mails, unsettled

BODY = b"the file behind every URL"
MD5 = hashlib.md5(BODY).hexdigest()
NEWER = {
    "another format": {"format": FORMAT + 1},
    "another failure code": {"failure": {"code": "moon_phase", "message": "", "http_status": None}},
    "another state": {"status": "cancelled"},
}


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.services)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    if request.param == "sqlite":
        return {"DATA_DIR": str(tmp_path / "stored")}
    mongod: Mongod = request.getfixturevalue("mongod")
    return {"MONGODB_URL": mongod.database_url(f"stored_{uuid.uuid4().hex}")}


def sqlite_file(settings: dict[str, str]) -> Path:
    return Path(settings["DATA_DIR"], "tasks.sqlite3")


def copy(settings: dict[str, str], host: str = stored.HOST) -> None:
    if "MONGODB_URL" in settings:
        stored.copy_mongodb(settings["MONGODB_URL"], host)
    else:
        stored.copy_sqlite(sqlite_file(settings), host)


def change(settings: dict[str, str], task_id: str, fields: dict[str, Any]) -> None:
    if "MONGODB_URL" in settings:
        stored.change_mongodb(settings["MONGODB_URL"], task_id, **fields)
    else:
        stored.change_sqlite(sqlite_file(settings), task_id, **fields)


@pytest.fixture
def make_system(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], System]]:
    made: list[System] = []

    def make(settings: dict[str, str]) -> System:
        made.append(System(tmp_path, settings))
        return made[-1]

    yield make
    for system in made:
        system.close()


@pytest.fixture
def idle(settings: dict[str, str], make_system: Callable[[dict[str, str]], System]) -> System:
    """A deployment without workers, so that no task changes."""
    copy(settings)
    return make_system({**settings, "RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}"})


def test_stored_tasks_keep_their_answers(idle: System) -> None:
    service = idle.start_service()
    answers = {name: service.check(each["id"]) for name, each in stored.ANSWERS.items()}
    assert {name: (each.status_code, each.json()) for name, each in answers.items()} == {
        name: (each["status"], each["body"]) for name, each in stored.ANSWERS.items()
    }


@pytest.mark.services
def test_stored_tasks_run_on(
    settings: dict[str, str],
    make_system: Callable[[dict[str, str]], System],
    rabbitmq: RabbitMQ,
    serve: Callable[..., Origin],
    inbox: Inbox,
) -> None:
    rabbitmq.purge()
    origin = serve({"/a": BODY})
    copy(settings, origin.base)
    system = make_system({**settings, "SMTP_URL": inbox.url, "RABBITMQ_URL": rabbitmq.url})
    tasks = {name: system.store.get(each["id"]) for name, each in stored.ANSWERS.items()}

    system.start_workers()

    wait_for(lambda: not unsettled(system.store))
    mailed = set()
    for name, before in tasks.items():
        assert before is not None
        after = system.store.get(before.id)
        assert after is not None
        if before.status in (Status.DONE, Status.FAILED):
            assert (after.digest, after.failure) == (before.digest, before.failure), name
        else:
            assert after.digest is not None, name
            assert after.digest.md5 == MD5, name
        if before.email and before.mail_status not in (MailStatus.SENT, MailStatus.REFUSED):
            assert after.mail_status is MailStatus.SENT, name
            mailed.add(before.id)
    assert count_mails(inbox) == dict.fromkeys(mailed, 1)


@pytest.mark.parametrize("fields", NEWER.values(), ids=NEWER)
def test_task_of_a_newer_version_is_reported_as_such(
    idle: System, settings: dict[str, str], fields: dict[str, Any]
) -> None:
    task_id = stored.ANSWERS["retrying"]["id"]
    change(settings, task_id, fields)

    answer = idle.start_service().check(task_id)

    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.json()["error"]["code"] == "newer_version"
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("name", ["failed", "failed, mail pending"])
def test_batch_that_release_1_0_has_failed(
    idle: System, settings: dict[str, str], name: str
) -> None:
    failed = stored.ANSWERS[name]
    change(settings, failed["id"], {"url": ""})  # and `batch` is lost

    answer = idle.start_service().check(failed["id"])

    assert answer.status_code == HTTPStatus.FAILED_DEPENDENCY
    assert answer.json() == {**failed["body"], "url": ""}
