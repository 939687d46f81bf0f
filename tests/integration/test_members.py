"""The members of batches, in every store."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from devtools.waiting import wait_for
from service.batch_submission import LEFTOVER_TIME, BatchSubmission
from tasks.batch import PARKED, Lane, Tally
from tasks.failure import Failure, FailureCode
from tasks.outcome import Failed, GivenBack, Outcome, RetryLater, Succeeded
from tasks.step import Status
from tasks.stores.contract import TaskStore
from tasks.task import Task
from tests.batches import StoredBatch, read_lines, store_batch
from tests.examples import DIGEST, LEASE, RETENTION
from tests.integration.stores import HOLD, Open, get

LINES = [f"http://{host}.example/{number}" for number in range(5) for host in ("a", "b")]
FAILURE = Failure(FailureCode.HTTP_STATUS, "The server answered 503.", 503)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(open_shared: Open) -> TaskStore:
    """Without mongomock, which knows no bulk writes of this pymongo."""
    return open_shared()


def claim(store: TaskStore, stored: StoredBatch, host: str, limit: int = 8) -> list[Task]:
    return store.members.claim(
        stored.lane_of(host), limit, now=store.now(), lease=LEASE, token="token"
    )


def end(store: TaskStore, claimed: Sequence[Task], outcome: Outcome) -> list[Task]:
    ended = [task.ended(outcome, store.now(), retention=RETENTION) for task in claimed]
    saved = store.members.save_all(ended)
    assert all(saved)
    return [task for task in saved if task]


def positions(tasks: Sequence[Task]) -> list[int]:
    return [task.member.position for task in tasks if task.member]


def test_members_are_invisible_until_they_are_activated(store: TaskStore) -> None:
    stored = store_batch(store, LINES, is_active=False)
    assert claim(store, stored, "a.example") == []
    assert store.take_due(store.now() + timedelta(hours=1), HOLD, 100) == [stored.task]
    assert all(get(store, each).expires_at for each in (*stored.members, *stored.lanes))

    store.members.activate(stored.group)

    assert store.members.is_unfinished(stored.group)
    assert get(store, stored.members[0]).wake_at == PARKED
    activated = [get(store, each) for each in (*stored.members, *stored.lanes)]
    assert not any(each.expires_at for each in activated)


def test_what_ended_before_a_moment_is_removed(store: TaskStore) -> None:
    stored, other = store_batch(store, LINES), store_batch(store, LINES[:2])
    end(store, claim(store, stored, "a.example", 3), Succeeded(DIGEST))
    end(store, claim(store, other, "a.example", 1), Succeeded(DIGEST))
    assert store.members.remove_ended(stored.group, store.now() - MINUTE) == 0
    assert store.members.remove_ended(stored.group, store.now() + MINUTE) == 3
    assert store.members.tally(stored.group) == Tally()
    assert store.members.count(stored.group) == 7
    assert positions(store.members.pages(stored.group, "position", 20)) == [1, 3, 5, 6, 7, 8, 9]
    assert store.members.tally(other.group).done == 1


def test_tally_of_nothing_is_zero(store: TaskStore) -> None:
    assert store.members.tally("a group without members") == Tally()


def test_failed_members_are_found_by_host_and_position(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    end(store, claim(store, stored, "b.example", 3), Failed(FAILURE))
    end(store, claim(store, stored, "a.example", 2), Failed(FAILURE))
    end(store, claim(store, stored, "a.example", 1), Succeeded(DIGEST))
    assert positions(store.members.failed(stored.group, 20)) == [0, 2, 1, 3, 5]
    assert positions(store.members.failed(stored.group, 3)) == [0, 2, 1]
    assert store.members.failed("other", 20) == []


def test_activation_is_repeated_without_harm(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    end(store, claim(store, stored, "a.example", 2), Succeeded(DIGEST))
    (running,) = claim(store, stored, "b.example", 1)
    store.members.activate(stored.group)
    assert store.members.tally(stored.group).done == 2
    assert get(store, running) == running


def test_lanes_are_due_at_once_and_members_never(store: TaskStore) -> None:
    stored = store_batch(store, LINES, per_host=2)
    due = store.take_due(store.now(), HOLD, 100)
    assert {task.id for task in due} == {lane.id for lane in stored.lanes}
    assert len(stored.lanes) == 4


def test_spellings_of_one_host_share_its_lanes(store: TaskStore) -> None:
    hosts = ("m\xfcnchen.example", "xn--mnchen-3ya.example", "M\xdcNCHEN.example.")
    stored = store_batch(store, [f"http://{host}/" for host in hosts])
    assert {lane.lane.host for lane in stored.lanes if lane.lane} == {"xn--mnchen-3ya.example"}
    assert len(claim(store, stored, "xn--mnchen-3ya.example")) == 3


def test_members_of_a_host_are_claimed_in_the_order_of_the_lines(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    assert positions(claim(store, stored, "b.example", 3)) == [1, 3, 5]
    assert positions(claim(store, stored, "b.example", 3)) == [7, 9]
    assert claim(store, stored, "b.example", 3) == []
    assert positions(claim(store, stored, "a.example")) == [0, 2, 4, 6, 8]


def test_claim_of_members_is_that_of_the_task(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:1])
    before, now = get(store, stored.members[0]), store.now()
    (claimed,) = store.members.claim(
        stored.lane_of("a.example"), 8, now=now, lease=LEASE, token="token"
    )
    assert claimed == replace(before.claimed(now, LEASE, "token"), version=2)
    assert get(store, claimed) == claimed


def test_claimed_members_are_found_by_their_token(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    lane = stored.lane_of("a.example")
    first = store.members.claim(lane, 2, now=store.now(), lease=LEASE, token="first")
    second = store.members.claim(lane, 9, now=store.now(), lease=LEASE, token="second")
    assert store.members.claimed(lane, "first") == first
    assert store.members.claimed(lane, "second") == second
    assert store.members.claimed(lane, "third") == []
    assert store.members.claimed(stored.lane_of("b.example"), "first") == []
    end(store, first, Succeeded(DIGEST))
    assert store.members.claimed(lane, "first") == []


def test_each_member_is_claimed_once(open_shared: Open) -> None:
    stores = [open_shared() for _ in range(4)]
    stored = store_batch(stores[0], [f"http://a.example/{number}" for number in range(200)])

    def claim_all(number: int) -> list[str]:
        claimed: list[str] = []
        while found := stores[number].members.claim(
            stored.lane_of("a.example"),
            8,
            now=stores[number].now(),
            lease=LEASE,
            token=f"token {number}",
        ):
            claimed += [task.id for task in found]
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [each for found in threads.map(claim_all, range(4)) for each in found]
    # A claim that meets another one may get nothing although something is left.
    assert len(claimed) == len(set(claimed))


def test_a_lost_claim_is_not_saved_with_the_others(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    claimed = claim(store, stored, "a.example", 3)
    stolen = store.save(claimed[1].released(store.now()))
    ended = [task.ended(Succeeded(DIGEST), store.now(), retention=RETENTION) for task in claimed]
    saved = store.members.save_all(ended)
    assert [task is not None for task in saved] == [True, False, True]
    assert get(store, claimed[1]) == stolen
    assert get(store, claimed[0]) == saved[0]


def test_tally_counts_what_has_ended(store: TaskStore) -> None:
    expecting = f"{'0' * 32}  http://c.example/"
    stored = store_batch(store, [*LINES, expecting])
    assert store.members.tally(stored.group) == Tally()
    sized = replace(DIGEST, size=7)
    end(store, claim(store, stored, "a.example", 2), Succeeded(sized))
    end(store, claim(store, stored, "b.example", 1), Failed(FAILURE))
    end(store, claim(store, stored, "c.example"), Succeeded(sized))
    claim(store, stored, "a.example", 1)
    expected = Tally(done=3, failed=1, mismatched=1, bytes_done=21)
    assert store.members.tally(stored.group) == expected


def test_what_has_not_ended_is_cancelled(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    other = store_batch(store, LINES[:1])
    (done,) = end(store, claim(store, stored, "a.example", 1), Succeeded(DIGEST))
    (waiting,) = end(store, claim(store, stored, "a.example", 1), RetryLater(MINUTE, FAILURE))
    (running,) = claim(store, stored, "b.example", 1)

    now = store.now()
    assert store.members.cancel(stored.group, now) == len(LINES) - 1

    assert not store.members.is_unfinished(stored.group)
    assert get(store, done) == done
    for task in (waiting, running):
        cancelled = task.cancelled(now, retention=RETENTION)
        assert get(store, task) == replace(cancelled, version=task.version + 1)
    assert store.save(running.released(now)) is None
    tally = store.members.tally(stored.group)
    assert (tally.done, tally.failed) == (1, len(LINES) - 1)
    assert claim(store, stored, "a.example") == []
    assert store.members.is_unfinished(other.group)
    assert store.members.cancel(stored.group, now + MINUTE) == 0
    assert store.members.tally(stored.group) == tally


def test_a_failed_attempt_waits_for_its_retry_in_its_lane(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:1])
    now = store.now()
    (failed,) = end(store, claim(store, stored, "a.example"), RetryLater(MINUTE, FAILURE))
    assert failed.wake_at == PARKED
    due_at = store.members.due_at(stored.lane_of("a.example"))
    assert due_at is not None
    assert due_at >= now + MINUTE
    assert claim(store, stored, "a.example") == []
    later = store.members.claim(
        stored.lane_of("a.example"), 8, now=now + 2 * MINUTE, lease=LEASE, token="token"
    )
    assert [task.attempt for task in later] == [2]


def test_a_host_that_rests_costs_no_attempts(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    lane = stored.lane_of("a.example")
    until = store.now() + MINUTE
    store.members.rest(lane, until)
    store.members.rest(lane, until - timedelta(seconds=30))
    assert store.members.due_at(lane) == until
    assert claim(store, stored, "a.example") == []
    assert len(claim(store, stored, "b.example")) == 5
    assert get(store, stored.members[0]).attempt == 0


def test_a_rest_changes_no_member(store: TaskStore) -> None:
    """Changing all members would take time in proportion to their number."""
    stored = store_batch(store, LINES)
    before = store.members.pages(stored.group, "position", len(LINES))
    store.members.rest(stored.lane_of("a.example"), store.now() + MINUTE)
    assert store.members.pages(stored.group, "position", len(LINES)) == before


def test_a_host_rests_for_one_batch(store: TaskStore) -> None:
    stored, other = store_batch(store, LINES), store_batch(store, LINES[:4])
    store.members.rest(stored.lane_of("a.example"), store.now() + MINUTE)
    assert claim(store, stored, "a.example") == []
    assert len(claim(store, other, "a.example")) == 2


def test_members_in_hand_wait_for_the_rest_once_they_are_given_back(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    claimed = claim(store, stored, "a.example")
    store.members.rest(stored.lane_of("a.example"), store.now() + MINUTE)
    end(store, claimed, GivenBack())
    assert claim(store, stored, "a.example") == []


def test_a_host_that_rests_has_nothing_due_without_waiting_members(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:2])
    claim(store, stored, "a.example")
    store.members.rest(stored.lane_of("a.example"), store.now() + MINUTE)
    assert store.members.due_at(stored.lane_of("a.example")) is None


def test_paused_members_do_not_slow_claims_down(store: TaskStore) -> None:
    """Most members of a large batch pause if their host keeps failing."""

    def pausing(size: int) -> Lane:
        stored = store_batch(store, [f"http://a.example/{number}" for number in range(size)])
        end(store, claim(store, stored, "a.example", size), RetryLater(MINUTE, FAILURE))
        return stored.lane_of("a.example")

    def seconds(lane: Lane) -> float:
        began = time.perf_counter()
        for _ in range(20):
            assert store.members.due_at(lane) is not None
            claimed = store.members.claim(lane, 1, now=store.now(), lease=LEASE, token="token")
            assert claimed == []
        return time.perf_counter() - began

    small, large = pausing(40), pausing(4000)
    rounds = [(seconds(large), seconds(small)) for _ in range(5)]
    in_large, in_small = (min(times) for times in zip(*rounds, strict=True))
    assert in_large < 4 * in_small


def test_members_that_are_due_again_come_last(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    first, second = claim(store, stored, "a.example", 2)
    for task in (second, first):
        end(store, [task], RetryLater(timedelta(0), FAILURE))
    assert positions(claim(store, stored, "a.example", 4))[:3] == [4, 6, 8]
    assert len(claim(store, stored, "a.example")) == 1


def test_a_host_rests_for_a_short_time_as_well(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    lane, now = stored.lane_of("a.example"), store.now()
    second = timedelta(seconds=1)
    store.members.rest(lane, now + second)

    def claim_at(moment: datetime) -> int:
        return len(store.members.claim(lane, 8, now=moment, lease=LEASE, token="token"))

    assert claim_at(now + second - timedelta(milliseconds=1)) == 0
    assert claim_at(now + second) == 5


def test_lane_has_nothing_left_when_no_member_waits(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:2])
    claimed = claim(store, stored, "a.example")
    assert store.members.due_at(stored.lane_of("a.example")) is None
    assert store.members.is_unfinished(stored.group, "a.example")
    end(store, claimed, Succeeded(DIGEST))
    assert not store.members.is_unfinished(stored.group, "a.example")
    assert store.members.is_unfinished(stored.group)
    end(store, claim(store, stored, "b.example"), Succeeded(DIGEST))
    assert not store.members.is_unfinished(stored.group)


def test_group_has_a_lane_until_all_have_ended(store: TaskStore) -> None:
    stored, other = (store_batch(store, LINES, per_host=1) for _ in range(2))
    for lane in stored.lanes:
        assert store.members.has_lane(stored.group)
        claimed = store.save(get(store, lane).claimed(store.now(), LEASE))
        assert claimed is not None
        assert store.members.has_lane(stored.group)
        assert store.save(claimed.ended(Succeeded(), store.now(), retention=RETENTION))
    assert not store.members.has_lane(stored.group)
    assert store.members.has_lane(other.group)


def test_a_group_is_running_while_a_member_is_claimed(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    assert not store.members.is_running(stored.group)
    claimed = claim(store, stored, "a.example")
    assert store.members.is_running(stored.group)
    end(store, claimed, Succeeded(DIGEST))
    assert not store.members.is_running(stored.group)


def test_pages_are_in_the_order_of_lines_or_of_bytes(store: TaskStore) -> None:
    lines = [f"http://a.example/{name}" for name in ("b", "a", "\xe9", "B", "aa")]
    stored = store_batch(store, lines)
    first = store.members.pages(stored.group, "position", 3)
    rest = store.members.pages(stored.group, "position", 3, 2)
    assert [task.url for task in (*first, *rest)] == lines
    by_rank = store.members.pages(stored.group, "rank", 10)
    assert [task.url for task in by_rank] == sorted(lines, key=str.encode)


def test_members_expire_at_a_given_moment(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:2])
    for host in ("a.example", "b.example"):
        (done,) = end(store, claim(store, stored, host), Succeeded(DIGEST))
        assert done.expires_at is None
    expires_at = store.now() + MINUTE
    store.members.expire(stored.group, expires_at)
    assert get(store, stored.members[0]).expires_at == expires_at


def store_leftovers(store: TaskStore) -> list[Task]:
    """Do as a service that was killed before it stored the batch itself, long ago."""
    submission = BatchSubmission(
        entries=read_lines("\n".join(LINES)), email=None, task_id=None, networks=("client",)
    )
    parts = submission.parts(store.now() - LEFTOVER_TIME - MINUTE, per_host=4)
    stored = [*parts.members(), *parts.lanes]
    assert store.insert_all(stored) == set()
    return stored


def test_leftovers_of_a_list_vanish(store: TaskStore) -> None:
    leftovers = store_leftovers(store)
    young, kept = store_batch(store, LINES, is_active=False), store_batch(store, LINES)

    def are_gone() -> bool:
        store.take_due(store.now(), HOLD, 1)  # a sweep
        return not any(store.get(each.id) for each in leftovers)

    wait_for(are_gone)
    for stored in (young, kept):
        assert all(store.get(each.id) for each in (*stored.members, *stored.lanes))


def test_lanes_are_not_in_the_backlog(store: TaskStore) -> None:
    stored = store_batch(store, LINES)
    stats = store.backlog(store.now() + timedelta(hours=1))
    assert stats.by_status[Status.QUEUED] == len(stored.members) + 1
    assert stats.overdue == len(stored.lanes) + 1


def test_a_restart_leaves_members_to_their_lanes(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:2])
    store.wake_unclaimed(store.now())
    assert get(store, stored.members[0]).wake_at == PARKED


def test_a_member_of_a_lost_worker_waits_for_its_lane_again(store: TaskStore) -> None:
    stored = store_batch(store, LINES[:1])
    (claimed,) = claim(store, stored, "a.example")
    lost = store.save(claimed.lost(store.now(), max_attempts=5, retention=RETENTION))
    assert lost is not None
    assert (lost.status, lost.wake_at) == (Status.QUEUED, PARKED)
    assert [task.attempt for task in claim(store, stored, "a.example")] == [2]
