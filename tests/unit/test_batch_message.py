from dataclasses import replace

import pytest

from settings import Settings
from tasks.outcome import Succeeded
from tasks.task import Task
from tests.examples import BATCH, LEASE, NOW, RETENTION, STATES
from worker.mail import batch_message
from worker.mail.message import build_message

SETTINGS = Settings(public_url="https://md5.example.com")


def make_done() -> Task:
    assert BATCH.batch is not None
    outcome = Succeeded(tally=BATCH.batch.tally)
    return BATCH.claimed(NOW, LEASE).ended(outcome, NOW, retention=RETENTION)


DONE = make_done()
MEMBERS = [STATES["done"], STATES["failed"]]


def text_of(members: list[Task]) -> str:
    part = build_message(DONE, SETTINGS, members).get_body()
    assert part is not None
    return str(part.get_content())


def test_mail_about_a_batch_has_its_counts_and_links() -> None:
    assert build_message(DONE, SETTINGS)["Subject"] == "MD5 of 1,200 files: 1,100 done, 4 failed"
    text = text_of(MEMBERS)
    assert "Mismatched: 2\n" in text
    assert f"  http_status 404  {STATES['failed'].url}\n" in text
    assert f"https://md5.example.com/export?id={DONE.id}&format=md5sum\n" in text
    assert "If it was not you, ignore this message." in text


def test_mail_about_a_batch_attaches_the_digests() -> None:
    (attached,) = build_message(DONE, SETTINGS, MEMBERS).iter_attachments()
    assert attached.get_filename() == f"{DONE.id}.md5sum.txt"
    lines = str(attached.get_content()).splitlines()
    assert lines[0].startswith("d41d8cd98f00b204e9800998ecf8427e  ")
    assert lines[1].startswith("# failed: http_status 404 ")


def test_too_many_digests_are_not_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_message, "MAX_ATTACHED", 100)
    assert list(build_message(DONE, SETTINGS, MEMBERS * 2).iter_attachments()) == []


def test_mail_about_a_batch_shows_some_failures_only() -> None:
    failed = [replace(STATES["failed"], url=f"http://example.com/{n}") for n in range(50)]
    assert text_of(failed).count("http_status 404") == batch_message.MAX_FAILURES


def test_mail_about_a_batch_is_the_same_at_every_try() -> None:
    first, second = (bytes(build_message(DONE, SETTINGS, MEMBERS)) for _ in range(2))
    assert first == second
