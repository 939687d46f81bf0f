import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from devtools.waiting import wait_for
from tasks.failure import Failure, FailureCode
from tasks.outcome import Failed, Outcome, RetryLater, Succeeded
from tasks.step import Status, StepKind
from tasks.task import Task
from tests.batches import StoredBatch, store_batch
from tests.examples import DIGEST, LEASE, RETENTION
from tests.fakes import ScriptedStore
from tests.lanes import Lanes
from worker.leases import Claim
from worker.steps import run_lane
from worker.steps.run_lane import BUSY_PAUSE

FAILURE = Failure(FailureCode.HTTP_STATUS, "The server answered 503 instead of 200.", 503)


@pytest.fixture
def stored(store: ScriptedStore) -> StoredBatch:
    return store_batch(store, [f"http://a.example/{number}" for number in range(20)], per_host=2)


@pytest.fixture
def lanes(
    store: ScriptedStore, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Lanes:
    monkeypatch.setattr(run_lane, "TURN_SECONDS", 600.0)  # longer than a busy machine pauses
    return Lanes(store, stopping)


def test_lane_downloads_all_members_in_order_and_wakes_the_batch(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    lane = lanes.run(stored.lanes[0])
    assert lane is not None
    assert lane.status is Status.DONE
    assert lanes.downloaded == [member.url for member in stored.members]
    assert lanes.woken == [stored.task.id]
    assert store.members.tally(stored.group).done == 20


def test_lane_waits_while_another_one_has_the_last_members(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    lane = stored.lane_of("a.example")
    held = store.members.claim(lane, 20, now=store.now(), lease=LEASE, token="other")
    before = store.now()

    paused = lanes.run(stored.lanes[0])

    assert paused is not None
    assert paused.next_step is StepKind.RUN_LANE
    assert paused.retry_at is not None
    assert paused.retry_at >= before + BUSY_PAUSE
    assert lanes.woken == []
    # The worker of the other lane is lost: its members wait again, and this lane takes them.
    for task in held:
        store.save(task.lost(store.now(), max_attempts=5, retention=RETENTION))
    assert store.save(paused.woken(store.now())) is not None
    lanes.run(stored.lanes[0])
    assert len(lanes.downloaded) == 20


def test_lane_gives_its_thread_back_after_its_turn(
    lanes: Lanes, stored: StoredBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lane, "TURN_SECONDS", -1)
    lane = lanes.run(stored.lanes[0])
    assert lane is not None
    assert lane.next_step is StepKind.RUN_LANE
    assert (lane.retry_at, lane.attempt) == (None, 0)


def test_thread_is_relieved_when_a_download_is_longer_than_a_turn(
    lanes: Lanes, stored: StoredBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_claim: Claim) -> None:
        assert not lanes.is_stopping()
        assert lanes.relieved == []
        lanes.during_download = lambda _claim: None
        monkeypatch.setattr(run_lane, "TURN_SECONDS", 0.0)
        wait_for(lambda: not lanes.is_stopping() and lanes.relieved)

    lanes.during_download = download
    lanes.run(stored.lanes[0])
    assert set(lanes.relieved) == {threading.current_thread()}


def test_thread_of_a_stopping_worker_is_not_relieved(
    lanes: Lanes, stored: StoredBatch, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_claim: Claim) -> None:
        monkeypatch.setattr(run_lane, "TURN_SECONDS", 0.0)
        stopping.set()
        assert lanes.is_stopping()

    lanes.during_download = download
    lanes.run(stored.lanes[0])
    assert lanes.relieved == []


def test_lane_sleeps_until_its_host_has_rested(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    rest = timedelta(seconds=30)
    lanes.outcome = lambda _task: RetryLater(rest, FAILURE, rest)
    began = store.now()
    lane = lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url], "the others wait without an attempt"
    assert lane is not None
    assert lane.retry_at is not None
    assert began + rest <= lane.retry_at <= store.now() + rest


def test_host_rests_while_a_download_waits_for_it(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    """The server has cut off a file, and asks for a rest before it sends what is left of it."""
    lanes.claim_all_at_once()
    lane = stored.lane_of("a.example")
    rest = timedelta(hours=1)
    rest_end = store.now() + rest

    def is_resting() -> bool:
        assert not lanes.is_stopping()
        due_at = store.members.due_at(lane)
        return due_at is not None and due_at >= rest_end

    def download(_claim: Claim) -> None:
        lanes.leave_alone(rest)
        wait_for(is_resting)

    lanes.during_download = download
    ended = lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url], "the others wait without an attempt"
    assert store.members.tally(stored.group).done == 1
    assert ended is not None
    assert ended.retry_at is not None


@pytest.mark.parametrize("seconds", [0.0, 2 * run_lane.RESULT_SECONDS])
def test_members_in_hand_are_given_back_when_their_host_rests(
    seconds: float, lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    """Also if the refusal takes so long that it is written before they are given back."""
    rest = timedelta(seconds=30)
    lanes.during_download = lambda claim: wait_for(lambda: claim.seconds >= seconds)
    lanes.claim_all_at_once()
    lanes.outcome = lambda _task: RetryLater(rest, FAILURE, rest)
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url]
    waiting = [store.get(member.id) for member in stored.members[1:]]
    assert {(each.attempt, each.status) for each in waiting if each} == {(0, Status.QUEUED)}


def test_members_in_hand_are_given_back_when_one_takes_longer_than_a_turn(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes.claim_all_at_once()
    monkeypatch.setattr(run_lane, "TURN_SECONDS", 0.05)
    lanes.during_download = lambda claim: wait_for(lambda: claim.seconds > 0.1)
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url]
    waiting = [store.get(member.id) for member in stored.members[1:]]
    assert {(each.attempt, each.status) for each in waiting if each} == {(0, Status.QUEUED)}


def test_long_download_holds_up_no_other_member(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results before it are written, and the members behind it are given back."""
    lanes.claim_all_at_once()
    monkeypatch.setattr(run_lane, "TURN_SECONDS", 3.0)
    first, second, *others = stored.members

    def statuses(members: list[Task]) -> set[Status]:
        assert not lanes.is_stopping()
        return {task.status for each in members if (task := store.get(each.id))}

    def download(claim: Claim) -> None:
        if claim.task.id == second.id:
            wait_for(lambda: statuses([first]) == {Status.DONE})
            wait_for(lambda: statuses(others) == {Status.QUEUED})
            assert statuses([second]) == {Status.RUNNING}
            lanes.during_download = lambda _claim: None

    lanes.during_download = download
    lanes.run(stored.lanes[0])
    assert lanes.downloaded[:2] == [first.url, second.url]


def test_results_are_written_although_no_thread_can_be_started(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    queued: list[Callable[[], object]] = []

    class Exhausted(Executor):
        """Keeps what it cannot run, as ThreadPoolExecutor does."""

        def submit(self, write: Callable[..., Any], /, *_: object, **__: object) -> Future[Any]:
            queued.append(write)
            raise RuntimeError("can't start new thread")

    lanes.claim_all_at_once()
    lanes.step = replace(lanes.step, writers=Exhausted())
    first, second, *_ = stored.members

    def is_written() -> bool:
        assert not lanes.is_stopping()
        kept = store.get(first.id)
        return kept is not None and kept.status is Status.DONE

    def download(claim: Claim) -> None:
        if claim.task.id == second.id:
            wait_for(is_written)

    lanes.during_download = download
    lanes.run(stored.lanes[0])
    assert store.members.tally(stored.group).done == len(stored.members)
    writes = len(store.calls("save_all"))
    for write in queued:
        write()
    assert queued
    assert len(store.calls("save_all")) == writes, "nothing is written twice"


def test_outage_does_not_stop_the_download_under_way(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    lanes.claim_all_at_once()

    def download(claim: Claim) -> None:
        if claim.task.id == stored.members[1].id:
            outage = store.fail("save_all", times=1000)
            wait_for(lambda: not lanes.is_stopping() and outage.times < 999)
            store.recover()

    lanes.during_download = download
    lanes.run(stored.lanes[0])
    assert store.members.tally(stored.group).done == len(stored.members)


def test_members_that_are_given_back_do_not_count_for_the_pace(
    lanes: Lanes, stored: StoredBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes.claim_all_at_once()
    recorded: list[float] = []
    monkeypatch.setattr(
        lanes.pace, "record", lambda _host, seconds, **_options: recorded.append(seconds)
    )
    lanes.during_download = lambda claim: wait_for(lambda: claim.seconds > 0.1)
    rest = timedelta(seconds=30)
    lanes.outcome = lambda _task: RetryLater(rest, FAILURE, rest)
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url]
    assert [seconds > 0.1 for seconds in recorded] == [True]


def test_failures_claim_no_more_members_at_once(lanes: Lanes, stored: StoredBatch) -> None:
    lanes.outcome = lambda _task: Failed(FAILURE)
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [member.url for member in stored.members]
    assert lanes.pace.most_claimed("a.example") == 1


def test_members_in_hand_are_not_downloaded_once_they_are_cancelled(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    def cancel(claim: Claim) -> None:
        store.members.cancel(stored.group, store.now())
        claim.renew()  # as the keeper of leases does in time

    lanes.claim_all_at_once()
    lanes.during_download = cancel
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url]
    tally = store.members.tally(stored.group)
    assert (tally.done, tally.failed) == (0, len(stored.members))


def test_host_rests_after_a_last_attempt_as_well(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    rest = timedelta(seconds=30)
    lanes.outcome = lambda _task: Failed(FAILURE, rest=rest)
    lanes.run(stored.lanes[0])
    assert lanes.downloaded == [stored.members[0].url]
    due_at = store.members.due_at(stored.lane_of("a.example"))
    assert due_at is not None
    assert due_at > store.now()


def test_failed_members_do_not_stop_the_lane(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    lanes.outcome = lambda task: Failed(FAILURE) if task.url.endswith("7") else Succeeded(DIGEST)
    lanes.run(stored.lanes[0])
    tally = store.members.tally(stored.group)
    assert (tally.done, tally.failed) == (18, 2)


def test_stopping_worker_gives_members_and_lane_back(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore, stopping: threading.Event
) -> None:
    def outcome(_task: Task) -> Outcome:
        if len(lanes.downloaded) == 5:
            stopping.set()
        return Succeeded(DIGEST)

    lanes.outcome = outcome
    lane = lanes.run(stored.lanes[0])
    assert lane is not None
    assert lane.next_step is StepKind.RUN_LANE
    members = store.members.pages(stored.group, "position", 100)
    assert [member.status for member in members].count(Status.DONE) == 5
    assert all(member.attempt == 0 for member in members if member.status is Status.QUEUED)
    assert Status.RUNNING not in [member.status for member in members]


def test_results_of_several_members_are_one_write(
    lanes: Lanes, stored: StoredBatch, store: ScriptedStore
) -> None:
    lanes.run(stored.lanes[0])
    saves = store.calls("save")
    assert len(saves) == 1, "the lane itself"
