"""What the origin declares about a file reaches its user, and never fails a task."""

import csv
import email
import email.policy
import hashlib
import io
import json
from collections.abc import Iterator

import pytest

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.raw_origin import RawOrigin, reply
from devtools.waiting import wait_for
from tests.e2e.batches import export, submit_list, wait_for_batch

BODY = b"Hello World"
MD5 = hashlib.md5(BODY).hexdigest()
RIGHT, WRONG = "Content-MD5: sQqNsWTgdUEFt6mb5y4/5Q==", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="


@pytest.fixture
def right() -> Iterator[RawOrigin]:
    with RawOrigin([reply(BODY, RIGHT)]) as origin:
        yield origin


@pytest.fixture
def wrong() -> Iterator[RawOrigin]:
    with RawOrigin([reply(BODY, WRONG)]) as origin:
        yield origin


def text_of(mail: bytes) -> list[str]:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    return str(message.get_content()).splitlines()


def test_a_digest_that_the_origin_confirms(system: System, right: RawOrigin, inbox: Inbox) -> None:
    service = system.start()
    task_id = service.submit(f"{right.base}/file", email="user@example.com")
    body = service.wait_for_end(task_id).json()
    assert (body["origin_md5"], body["origin_verified"]) == (MD5, True)
    (row,) = csv.DictReader(io.StringIO(export(service, task_id).text))
    assert row["origin_verified"] == "true"
    wait_for(lambda: inbox.mails)
    assert "Origin:    declares the same MD5" in text_of(inbox.mails[0])


def test_a_digest_that_the_origin_contradicts(
    system: System, wrong: RawOrigin, inbox: Inbox
) -> None:
    service = system.start()
    task_id = service.submit(f"{wrong.base}/file", email="user@example.com", md5=MD5)
    body = service.wait_for_end(task_id).json()
    assert (body["status"], body["md5"], body["verified"]) == ("done", MD5, True)
    assert (body["origin_md5"], body["origin_verified"]) == ("0" * 32, False)
    wait_for(lambda: inbox.mails)
    assert f"Origin:    declares another MD5, {'0' * 32}" in text_of(inbox.mails[0])


def test_the_files_of_a_batch(embedded: System, right: RawOrigin, wrong: RawOrigin) -> None:
    with RawOrigin([reply(BODY)]) as silent:
        service = embedded.start()
        urls = [f"{each.base}/file" for each in (right, wrong, silent)]
        batch_id = submit_list(service, urls)
        wait_for_batch(service, batch_id)
    rows = list(csv.DictReader(io.StringIO(export(service, batch_id).text)))
    assert [row["origin_verified"] for row in rows] == ["true", "false", ""]
    lines = export(service, batch_id, format="ndjson").text.splitlines()
    assert [json.loads(line).get("origin_md5") for line in lines] == [MD5, "0" * 32, None]
