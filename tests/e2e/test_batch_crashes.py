"""A process that dies between two steps of a batch loses nothing and downloads no leftovers."""

import csv
import hashlib
import io
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.waiting import wait_for
from tasks.task import Task
from tests.e2e.batches import export, submit_list, try_to_submit_list, wait_for_batch
from tests.e2e.crashing import start_crashing
from tests.e2e.ledger import all_tasks, count_mails, make_all_due

Serve = Callable[[Mapping[str, bytes]], Origin]

FILES = {f"/{number}": f"file {number}".encode() for number in range(600)}
DIGESTS = [hashlib.md5(body).hexdigest() for body in FILES.values()]


def batches(system: System) -> list[Task]:
    return [task for task in all_tasks(system.store) if task.batch is not None]


def assert_complete(system: System, batch_id: str) -> None:
    body = wait_for_batch(system.service, batch_id)
    assert body["tasks"] == {"total": len(FILES), "running": 0, "done": len(FILES), "failed": 0}
    rows = csv.DictReader(io.StringIO(export(system.service, batch_id).text))
    assert [row["md5"] for row in rows] == DIGESTS


@pytest.mark.parametrize(
    ("point", "is_taken_in"),
    [
        ("insert", False),
        ("insertion of lanes", False),
        ("insertion of the batch", True),
        ("activation", True),
        ("publish", True),
    ],
)
def test_a_crash_while_a_list_is_taken_in(
    point: str, system: System, serve: Serve, tmp_path: Path, *, is_taken_in: bool
) -> None:
    origin = serve({**FILES, "/other": b""})
    text = "\n".join(f"{origin.base}{path}" for path in FILES)
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    # If a part of the list was stored, the list has been counted, and is not counted again.
    counts = 2 if point == "insert" else 1
    system.environ["URLS_PER_HOUR"] = str(counts * len(FILES) + 1)
    victim = start_crashing(system, point, tmp_path / "flag", in_service=True)
    try:
        try_to_submit_list(system.service, text, key)
    except requests.ConnectionError:
        pass
    else:
        assert point == "publish", "it was answered before it was durable"
    assert victim.wait() != 0

    system.start()
    make_all_due(system.store)

    if is_taken_in:
        (batch,) = batches(system)
        assert_complete(system, batch.id)
    else:
        assert batches(system) == []
        other = submit_list(system.service, [f"{origin.base}/other"])
        wait_for_batch(system.service, other)
        assert set(origin.requests) == {"/other"}, "leftovers were downloaded"
    answer = try_to_submit_list(system.service, text, key)
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert_complete(system, answer.json()["id"])
    assert {origin.requests.count(path) for path in FILES} == {1}


def test_the_same_key_completes_a_list_whose_tasks_have_expired(
    distributed: System, serve: Serve, tmp_path: Path
) -> None:
    """The service was killed before it activated them, and no worker ran for a day."""
    origin = serve(FILES)
    text = "\n".join(f"{origin.base}{path}" for path in FILES)
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    victim = start_crashing(
        distributed, "insertion of the batch", tmp_path / "flag", in_service=True
    )
    with pytest.raises(requests.ConnectionError):
        try_to_submit_list(distributed.service, text, key)
    assert victim.wait() != 0
    with MongoClient[dict[str, Any]](distributed.environ["MONGODB_URL"]) as client:
        removed = client.get_default_database().tasks.delete_many({"expires_at": {"$ne": None}})
    assert removed.deleted_count > len(FILES)

    answer = try_to_submit_list(distributed.start_service(), text, key)
    distributed.start_workers()

    assert answer.status_code == HTTPStatus.ACCEPTED
    assert_complete(distributed, answer.json()["id"])


@pytest.mark.parametrize(
    "point", ["claim of members", "results of members", "tally", "expiry", "mail"]
)
def test_a_crash_while_a_batch_is_downloaded(
    point: str, system: System, serve: Serve, inbox: Inbox, tmp_path: Path
) -> None:
    origin = serve(FILES)
    victim = start_crashing(system, point, tmp_path / "flag", in_service=False)
    lines = [f"{origin.base}{path}" for path in FILES]
    batch_id = submit_list(system.service, lines, email="user@example.com")

    assert victim.wait() != 0
    if system.is_distributed:
        system.start_workers()
    else:
        system.start()

    assert_complete(system, batch_id)
    wait_for(lambda: system.service.check(batch_id).json()["mail_status"] == "sent")
    assert count_mails(inbox) == {batch_id: 2 if point == "mail" else 1}
