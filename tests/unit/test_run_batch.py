import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from service.batch_submission import LEFTOVER_TIME
from tasks.batch import Tally
from tasks.failure import Failure, FailureCode
from tasks.outcome import Failed, Outcome, Succeeded, Unfinished
from tasks.step import StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.batches import StoredBatch, store_batch
from tests.examples import DIGEST, LEASE, RETENTION
from tests.fakes import ScriptedStore
from worker.leases import Claim
from worker.steps.run_batch import MAIL_TIME, RunBatch, pause_after

LINES = ["http://a.example/1", "http://a.example/2"]


def look(store: SQLiteStore, stored: StoredBatch, kind: type[Outcome] = Unfinished) -> Task:
    """Let a worker look at the batch; return what it has written."""
    task = store.get(stored.task.id)
    assert task is not None
    claimed = store.save(task.claimed(store.now(), LEASE))
    assert claimed is not None
    step = RunBatch(store, RETENTION, 4, threading.Event())
    outcome = step.attempt(Claim(store, claimed, LEASE))
    assert isinstance(outcome, kind)
    looked_at = store.save(claimed.ended(outcome, store.now(), retention=RETENTION))
    assert looked_at is not None
    return looked_at


def test_a_batch_is_active_while_a_member_is_downloaded_or_has_ended(store: SQLiteStore) -> None:
    stored = store_batch(store, LINES)
    assert look(store, stored).active_at == stored.task.active_at == stored.task.submitted_at

    (running,) = store.members.claim(
        stored.lane_of("a.example"), 1, now=store.now(), lease=LEASE, token="token"
    )
    while_running = look(store, stored).active_at
    assert while_running is not None
    assert while_running > stored.task.submitted_at

    ended = running.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)
    store.members.save_all([ended])
    after_it = look(store, stored).active_at
    assert after_it is not None
    assert after_it > while_running
    assert look(store, stored).active_at == after_it


def test_a_batch_ends_although_its_members_have_expired_before_they_were_activated(
    store: ScriptedStore,
) -> None:
    stored = store_batch(store, LINES, is_active=False)
    store.time = store.now() + LEFTOVER_TIME
    store.take_due(store.now(), store.now(), 1)
    assert store.members.count(stored.group) == 0

    ended = look(store, stored, Succeeded)

    assert ended.finished_at is not None
    assert ended.batch is not None
    assert ended.batch.tally == Tally(failed=2)


@pytest.mark.parametrize(
    ("email", "longer"), [(None, timedelta(0)), ("someone@example.com", MAIL_TIME)]
)
def test_members_expire_with_their_batch(
    email: str | None, longer: timedelta, store: ScriptedStore
) -> None:
    """Members of a batch with a mail may outlive it: their results belong to the mail."""
    store.time = store.now()  # it stands still
    stored = store_batch(store, LINES, email=email)
    claimed = store.members.claim(
        stored.lane_of("a.example"), 8, now=store.now(), lease=LEASE, token="token"
    )
    ended = [task.ended(Succeeded(DIGEST), store.now(), retention=RETENTION) for task in claimed]
    assert len(store.members.save_all(ended)) == len(LINES)

    batch = look(store, stored, Succeeded)

    expected = store.now() + RETENTION
    assert batch.expires_at == (None if email else expected)
    for member in stored.members:
        kept = store.get(member.id)
        assert kept is not None
        assert kept.expires_at == expected + longer


def test_a_batch_ends_after_the_members_that_are_left(store: ScriptedStore) -> None:
    stored = store_batch(store, LINES, is_active=False)
    store.time = store.now() + LEFTOVER_TIME / 2
    again = replace(stored.members[0], id=str(uuid.uuid4()), expires_at=None)
    store.insert_all([again])
    store.time = store.now() + LEFTOVER_TIME / 2
    store.take_due(store.now(), store.now(), 1)
    assert store.members.count(stored.group) == 1
    look(store, stored)

    (running,) = store.members.claim(
        stored.lane_of("a.example"), 2, now=store.now(), lease=LEASE, token="token"
    )
    look(store, stored)
    store.members.save_all([running.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)])
    look(store, stored)
    ended = look(store, stored, Succeeded)

    assert ended.batch is not None
    assert ended.batch.tally == Tally(done=1, failed=1, bytes_done=DIGEST.size)


@pytest.mark.parametrize(
    ("code", "has_mail"), [(FailureCode.BLOCKED_ADDRESS, False), (FailureCode.DNS_ERROR, True)]
)
def test_batch_that_asked_no_server_sends_no_mail(
    code: FailureCode, *, has_mail: bool, store: SQLiteStore
) -> None:
    stored = store_batch(store, LINES, email="someone@example.com")
    claimed = store.members.claim(
        stored.lane_of("a.example"), 2, now=store.now(), lease=LEASE, token="token"
    )
    codes = [FailureCode.BLOCKED_ADDRESS, code]
    outcomes = [Failed(Failure(each, "It failed.")) for each in codes]
    store.members.save_all(
        [
            member.ended(outcome, store.now(), retention=RETENTION)
            for member, outcome in zip(claimed, outcomes, strict=True)
        ]
    )
    ended = look(store, stored, Succeeded)
    assert (ended.next_step is StepKind.SEND_EMAIL) == has_mail


def test_a_member_that_ends_during_the_count_is_not_missing(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that counts may have passed its new place before it ended."""
    stored = store_batch(store, LINES)
    first, second = store.members.claim(
        stored.lane_of("a.example"), 2, now=store.now(), lease=LEASE, token="token"
    )

    def end(member: Task) -> None:
        store.members.save_all([member.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)])

    def count_without_the_second(_group: str) -> int:
        end(second)
        return 1

    end(first)
    look(store, stored)
    monkeypatch.setattr(store.members, "count", count_without_the_second)
    look(store, stored)
    ended = look(store, stored, Succeeded)
    assert ended.batch is not None
    assert ended.batch.tally == Tally(done=2, bytes_done=2 * DIGEST.size)


def end_lanes(store: SQLiteStore, stored: StoredBatch) -> None:
    for lane in stored.lanes:
        claimed = lane.claimed(store.now(), LEASE)
        assert store.save(claimed.ended(Succeeded(), store.now(), retention=RETENTION))


def test_lanes_that_are_missing_are_replaced(store: ScriptedStore) -> None:
    """For example those that expired because a service was killed before it activated them."""
    stored = store_batch(store, [*LINES, "http://b.example/1"])
    (member,) = store.members.claim(
        stored.lane_of("b.example"), 1, now=store.now(), lease=LEASE, token="token"
    )
    store.members.save_all([member.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)])
    store.take_due(store.now(), store.now() + timedelta(days=1), 9)
    end_lanes(store, stored)

    look(store, stored)  # which finds that a member has ended
    assert not store.members.has_lane(stored.group)
    for _ in range(2):
        look(store, stored)

    due = store.take_due(store.now(), store.now() + timedelta(days=1), 9)
    hosts = [task.lane.host for task in due if task.lane]
    assert hosts == ["a.example"] * len(LINES)


def test_lanes_are_not_replaced_while_one_is_left_or_a_member_runs(store: ScriptedStore) -> None:
    stored = store_batch(store, LINES)
    look(store, stored)
    store.members.claim(stored.lane_of("a.example"), 1, now=store.now(), lease=LEASE, token="token")
    store.take_due(store.now(), store.now() + timedelta(days=1), 9)
    end_lanes(store, stored)
    for _ in range(2):
        look(store, stored)
    assert not store.members.has_lane(stored.group)


def test_a_batch_of_an_earlier_version_is_active_from_the_first_look(store: SQLiteStore) -> None:
    stored = store_batch(store, LINES)
    before = store.get(stored.task.id)
    assert before is not None
    assert store.save(replace(before, active_at=None))
    looked_at = look(store, stored).active_at
    assert looked_at is not None
    assert look(store, stored).active_at == looked_at


@pytest.mark.parametrize(
    ("ended", "total", "age", "pause"),
    [
        (0, 10, 0.1, 1),
        (5, 10, 10, 1),
        (0, 10_000, 0.01, 10),
        (0, 10_000, 160, 20),
        (0, 10, 80, 8),
        (0, 100, 1, 1),
        (5_000, 10_000, 5, 10),
        (10, 1000, 60, 7.5),
        (10, 1000, 600, 60),
        (500, 1000, 1000, 20),
        (1, 1_000_000, 1, 60),
        (1, 1000, 10_000, 60),
    ],
)
def test_large_and_slow_batches_are_looked_at_less_often(
    ended: int, total: int, age: float, pause: float
) -> None:
    tally = Tally(done=ended)
    assert pause_after(tally, total, timedelta(seconds=age)) == timedelta(seconds=pause)
