import uuid
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batch import Tally
from tasks.digests import Algorithm, Expected
from tasks.errors import IllegalTransitionError
from tasks.failure import CANCELLED, FailureCode
from tasks.outcome import Delayed, Failed, GivenBack, RetryLater, Succeeded, Unfinished
from tasks.step import ROWS, MailStatus, Status, Step, StepKind, StepState
from tasks.stores.document import from_document, to_document
from tasks.task import Task
from tests.examples import (
    ADDRESS,
    BATCH,
    DIGEST,
    FAILURE,
    FULL_TASK,
    LANE,
    LEASE,
    NOW,
    PAUSE,
    RETENTION,
    STATES,
    make_task,
    with_attempt,
)

LATER = NOW + timedelta(minutes=10)
SECONDS_30 = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)
MAX_ATTEMPTS = 3

Transition = Callable[[Task], Task]
TRANSITIONS: dict[str, Transition] = {
    "dispatched": lambda task: task.dispatched(LATER),
    "still_waiting": lambda task: task.still_waiting(LATER),
    "claimed": lambda task: task.claimed(LATER, LEASE, "token"),
    "renewed": lambda task: task.renewed(LATER, LEASE),
    "progressed": lambda task: task.progressed(5, None),
    "timed": lambda task: task.timed(1.5),
    "released": lambda task: task.released(LATER),
    "lost": lambda task: task.lost(LATER, max_attempts=MAX_ATTEMPTS, retention=RETENTION),
    "woken": lambda task: task.woken(LATER),
    "unfinished": lambda task: task.ended(Unfinished(PAUSE), LATER, retention=RETENTION),
    "yielded": lambda task: task.ended(Unfinished(), LATER, retention=RETENTION),
    "given back": lambda task: task.ended(GivenBack(), LATER, retention=RETENTION),
    "retry": lambda task: task.ended(RetryLater(PAUSE, FAILURE), LATER, retention=RETENTION),
    "delayed": lambda task: task.ended(Delayed(PAUSE), LATER, retention=RETENTION),
    "succeeded": lambda task: task.ended(Succeeded(), LATER, retention=RETENTION),
    "done": lambda task: task.ended(Succeeded(DIGEST), LATER, retention=RETENTION),
    "failed": lambda task: task.ended(Failed(FAILURE), LATER, retention=RETENTION),
    "cancelled": lambda task: task.cancelled(LATER, retention=RETENTION),
}
ENDED = {"retry", "failed", "given back", "unfinished", "yielded"}
WAITING = {"dispatched", "claimed", "released", "woken"}
RUNNING = {"renewed", "progressed", "timed", "released", "lost"} | ENDED | {"done"}
SENDING = RUNNING - {"done"} | {"succeeded", "delayed"}
LEGAL = {
    "queued": WAITING | {"cancelled"},
    "dispatched": WAITING | {"still_waiting", "cancelled"},
    "retrying": WAITING | {"cancelled"},
    "retry dispatched": WAITING | {"still_waiting", "cancelled"},
    "running": RUNNING | {"cancelled"},
    "done, mail pending": WAITING,
    "failed, mail pending": WAITING,
    "done, mail delayed": WAITING,
    "done, mail sending": SENDING,
    "done, mail sent": set(),
    "done, mail refused": set(),
    "done": set(),
    "failed": set(),
}


def changes(before: Task, after: Task) -> dict[str, object]:
    """The fields that differ, with their new values. Those of the steps are shown by name."""
    old, new = shown(before), shown(after)
    return {name: value for name, value in new.items() if value != old[name]}


def shown(task: Task) -> dict[str, object]:
    plain = {each.name: getattr(task, each.name) for each in fields(Task) if each.name != "steps"}
    email = task.step(StepKind.SEND_EMAIL)
    return {
        **plain,
        "status": task.status,
        "attempt": task.attempt,
        "mail_status": task.mail_status,
        "mail_attempt": email.attempt if email else 0,
    }


@pytest.mark.parametrize(
    ("state", "transition"),
    [
        (state, transition)
        for state, legal in LEGAL.items()
        for transition in sorted(TRANSITIONS.keys() - legal)
    ],
)
def test_transitions_from_the_wrong_state_raise(state: str, transition: str) -> None:
    with pytest.raises(IllegalTransitionError, match=STATES[state].id):
        TRANSITIONS[transition](STATES[state])


@pytest.mark.parametrize(
    ("state", "transition"),
    [(state, transition) for state, legal in LEGAL.items() for transition in sorted(legal)],
)
def test_legal_transition_leaves_identity_and_version(state: str, transition: str) -> None:
    before = STATES[state]
    after = TRANSITIONS[transition](before)
    assert not changes(before, after).keys() & {
        "id",
        "url",
        "email",
        "expected",
        "requested",
        "submitted_at",
        "version",
    }


def test_new_task_is_queued_with_its_steps() -> None:
    task = Task.new(
        "http://example.com/", NOW, email=ADDRESS, expected=Expected({Algorithm.MD5: "0" * 32})
    )
    assert str(uuid.UUID(task.id)) == task.id
    assert task == Task(
        id=task.id,
        url="http://example.com/",
        email=ADDRESS,
        expected=Expected({Algorithm.MD5: "0" * 32}),
        submitted_at=NOW,
        steps=(Step(StepKind.COMPUTE_MD5), Step(StepKind.SEND_EMAIL)),
        wake_at=NOW + SECONDS_30,
    )
    assert (task.version, task.status, task.attempt) == (1, Status.QUEUED, 0)
    assert task.next_step is StepKind.COMPUTE_MD5
    assert make_task().id != make_task().id


def test_task_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        make_task().version = 2  # type: ignore[misc]


@pytest.mark.parametrize("state", ["queued", "done, mail pending"])
def test_dispatched_puts_off_the_next_look(state: str) -> None:
    before = STATES[state]
    assert changes(before, before.dispatched(LATER)) == {
        "dispatched_at": LATER,
        "wake_at": LATER + 5 * MINUTE,
    }


def test_still_waiting_doubles_the_pause_to_a_limit() -> None:
    task = make_task().dispatched(NOW)
    pauses = []
    for _ in range(7):
        assert task.wake_at is not None
        now = task.wake_at
        task = task.still_waiting(now)
        pauses.append((task.wake_at - now) / MINUTE)  # type: ignore[operator]
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
    assert (task.dispatched_at, task.version) == (NOW, 1)


def test_claimed_starts_an_attempt_with_a_lease() -> None:
    before = with_attempt(STATES["dispatched"], StepKind.COMPUTE_MD5, 2)
    before = replace(before, bytes_done=7, bytes_total=9)
    assert changes(before, before.claimed(LATER, LEASE, "token")) == {
        "status": Status.RUNNING,
        "attempt": 3,
        "wake_at": LATER + LEASE,
        "dispatched_at": None,
        "claim": "token",
        "bytes_done": None,
        "bytes_total": None,
    }


@pytest.mark.parametrize("state", ["running", "done, mail sending"])
def test_renewed_extends_the_lease_only(state: str) -> None:
    before = STATES[state]
    assert changes(before, before.renewed(LATER, LEASE)) == {"wake_at": LATER + LEASE}


def test_progressed_changes_the_progress_only() -> None:
    before = STATES["running"]
    assert changes(before, before.progressed(5, 9)) == {"bytes_done": 5, "bytes_total": 9}
    assert changes(before, before.progressed(5, None)) == {"bytes_done": 5}


def test_released_does_not_count_the_attempt() -> None:
    before = STATES["running"]
    assert changes(before, before.released(LATER)) == {
        "status": Status.QUEUED,
        "attempt": 0,
        "wake_at": LATER,
    }


def test_released_before_it_was_claimed() -> None:
    before = with_attempt(STATES["dispatched"], StepKind.COMPUTE_MD5, 2)
    assert changes(before, before.released(LATER)) == {"wake_at": LATER, "dispatched_at": None}


def test_transient_failure_waits_for_its_retry() -> None:
    before = STATES["running"]
    assert changes(
        before, before.ended(RetryLater(PAUSE, FAILURE), LATER, retention=RETENTION)
    ) == {
        "status": Status.QUEUED,
        "wake_at": LATER + PAUSE,
        "retry_at": LATER + PAUSE,
        "failure": FAILURE,
    }


def test_lost_is_queued_again() -> None:
    before = STATES["running"]
    after = before.lost(LATER, max_attempts=2, retention=RETENTION)
    assert changes(before, after) == {"status": Status.QUEUED, "wake_at": LATER + SECONDS_30}


def test_lost_in_the_last_attempt_fails() -> None:
    before = make_task().claimed(NOW, LEASE)
    after = before.lost(LATER, max_attempts=1, retention=RETENTION)
    assert after.failure is not None
    assert after.failure.code is FailureCode.WORKER_LOST
    assert changes(before, after) == {
        "status": Status.FAILED,
        "wake_at": None,
        "finished_at": LATER,
        "expires_at": LATER + RETENTION,
        "failure": after.failure,
    }


def test_lost_mail_is_pending_again() -> None:
    before = STATES["done, mail sending"]
    after = before.lost(LATER, max_attempts=1, retention=RETENTION)
    assert changes(before, after) == {
        "mail_status": MailStatus.PENDING,
        "wake_at": LATER + SECONDS_30,
    }


def test_done_without_a_mail_is_settled() -> None:
    before = replace(make_task().claimed(NOW, LEASE), failure=FAILURE)
    assert changes(before, before.ended(Succeeded(DIGEST), LATER, retention=RETENTION)) == {
        "status": Status.DONE,
        "digest": DIGEST,
        "failure": None,
        "wake_at": None,
        "finished_at": LATER,
        "expires_at": LATER + RETENTION,
    }


def test_done_with_a_mail_is_not_settled() -> None:
    before = STATES["running"]
    assert changes(before, before.ended(Succeeded(DIGEST), LATER, retention=RETENTION)) == {
        "status": Status.DONE,
        "digest": DIGEST,
        "mail_status": MailStatus.PENDING,
        "wake_at": LATER + SECONDS_30,
        "finished_at": LATER,
    }


def test_failed_with_a_mail_is_not_settled() -> None:
    before = STATES["running"]
    assert changes(before, before.ended(Failed(FAILURE), LATER, retention=RETENTION)) == {
        "status": Status.FAILED,
        "failure": FAILURE,
        "mail_status": MailStatus.PENDING,
        "wake_at": LATER + SECONDS_30,
        "finished_at": LATER,
    }


def test_claiming_the_mail_starts_an_attempt_with_a_lease() -> None:
    before = STATES["done, mail pending"].dispatched(NOW)
    assert changes(before, before.claimed(LATER, LEASE, "token")) == {
        "mail_status": MailStatus.SENDING,
        "mail_attempt": 1,
        "wake_at": LATER + LEASE,
        "dispatched_at": None,
        "claim": "token",
    }


def test_mail_delayed_burns_no_attempt() -> None:
    before = STATES["done, mail sending"]
    assert changes(before, before.ended(Delayed(PAUSE), LATER, retention=RETENTION)) == {
        "mail_status": MailStatus.DELAYED,
        "mail_attempt": 0,
        "wake_at": LATER + PAUSE,
        "retry_at": LATER + PAUSE,
    }


def test_delivery_that_failed_does_not_replace_the_result() -> None:
    before = STATES["done, mail sending"]
    for outcome in (RetryLater(PAUSE, FAILURE), Failed(FAILURE)):
        assert before.ended(outcome, LATER, retention=RETENTION).failure is None


def test_transient_mail_failure_waits_for_its_retry() -> None:
    before = STATES["done, mail sending"]
    assert changes(before, before.ended(RetryLater(PAUSE), LATER, retention=RETENTION)) == {
        "mail_status": MailStatus.PENDING,
        "wake_at": LATER + PAUSE,
        "retry_at": LATER + PAUSE,
    }


def test_mail_sent_or_refused_settles() -> None:
    before = STATES["done, mail sending"]
    settled = {"wake_at": None, "expires_at": LATER + RETENTION}
    assert changes(before, before.ended(Succeeded(), LATER, retention=RETENTION)) == {
        "mail_status": MailStatus.SENT,
        **settled,
    }
    assert changes(before, before.ended(Failed(), LATER, retention=RETENTION)) == {
        "mail_status": MailStatus.REFUSED,
        **settled,
    }


@pytest.mark.parametrize("state", ["queued", "dispatched", "retrying", "running"])
def test_a_cancelled_task_has_failed_and_sends_no_mail(state: str) -> None:
    task = replace(STATES[state], email=ADDRESS)
    task = replace(task, steps=(*task.steps[:1], Step(StepKind.SEND_EMAIL)))
    cancelled = task.cancelled(LATER, retention=RETENTION)
    assert (cancelled.status, cancelled.mail_status) == (Status.FAILED, MailStatus.REFUSED)
    assert cancelled.failure is not None
    assert cancelled.failure.code is FailureCode.CANCELLED
    assert cancelled.is_settled
    assert cancelled.retry_at is cancelled.dispatched_at is None
    assert (cancelled.finished_at, cancelled.expires_at) == (LATER, LATER + RETENTION)


def test_a_cancelled_batch_is_done_with_its_tally() -> None:
    tally = Tally(done=1, failed=1199)
    cancelled = BATCH.cancelled(LATER, retention=RETENTION, tally=tally)
    assert (cancelled.status, cancelled.failure) == (Status.DONE, None)
    assert cancelled.batch is not None
    assert cancelled.batch.tally == tally
    assert cancelled.is_settled


def test_each_digest_that_is_asked_for_is_computed_once() -> None:
    task = replace(
        make_task(),
        requested=(Algorithm.SHA256, Algorithm.SHA512),
        expected=Expected({Algorithm.MD5: "0" * 32, Algorithm.SHA256: "0" * 64}),
    )
    assert task.algorithms == (Algorithm.MD5, Algorithm.SHA256, Algorithm.SHA512)
    assert make_task().algorithms == (Algorithm.MD5,)


def test_everything_that_differs_is_named() -> None:
    digest = replace(DIGEST, hexdigests={Algorithm.MD5: "0" * 32, Algorithm.SHA1: "0" * 40})
    expected = Expected({Algorithm.MD5: "0" * 32, Algorithm.SHA1: "1" * 40}, digest.size + 1)
    running = replace(STATES["running"], expected=expected)
    assert running.mismatches is None
    done = running.ended(Succeeded(digest), NOW, retention=RETENTION)
    assert (done.is_verified, done.mismatches) == (False, ["sha1", "size"])


@pytest.mark.parametrize(
    ("expected", "is_verified"), [(None, None), (DIGEST.md5, True), ("0" * 32, False)]
)
def test_task_is_verified_if_the_digest_is_the_expected_one(
    expected: str | None,
    is_verified: bool | None,  # noqa: FBT001
) -> None:
    running = replace(
        STATES["running"], expected=Expected({Algorithm.MD5: expected} if expected else {})
    )
    assert running.is_verified is None
    assert running.ended(Succeeded(DIGEST), NOW, retention=RETENTION).is_verified is is_verified


@given(
    st.none() | st.just(ADDRESS),
    st.lists(st.tuples(st.sampled_from(sorted(TRANSITIONS)), st.integers(1, 3)), max_size=40),
)
def test_any_walk_keeps_the_invariants(email: str | None, walk: list[tuple[str, int]]) -> None:
    task = make_task(email)
    for name, repeats in walk:
        for _ in range(repeats):
            try:
                task = TRANSITIONS[name](task)
            except IllegalTransitionError:
                break
            is_ended = task.status in (Status.DONE, Status.FAILED)
            is_settled = is_ended and task.mail_status not in (
                MailStatus.PENDING,
                MailStatus.DELAYED,
                MailStatus.SENDING,
            )
            assert (task.wake_at is None) == is_settled
            assert (task.expires_at is not None) == is_settled
            assert (task.finished_at is not None) == is_ended
            assert (task.mail_status is not None) == (is_ended and email is not None)
            assert (task.digest is not None) == (task.status is Status.DONE)
            assert task.status is not Status.DONE or task.failure is None
            assert task.status is not Status.FAILED or task.failure is not None
            assert task.next_step is None or not is_settled
            needs_no_attempt = task.status is Status.QUEUED or task.failure == CANCELLED
            assert task.attempt >= (not needs_no_attempt)
            assert task.version == 1
            assert from_document(to_document(task)) == task


@pytest.mark.parametrize(
    "transition", ["retry", "lost", "done", "failed"], ids=lambda transition: f"after {transition}"
)
def test_time_of_an_attempt_that_ends_is_added(transition: str) -> None:
    before = replace(STATES["running"], seconds_used=7.5).timed(1.23456)
    assert (before.seconds_used, before.seconds_running) == (7.5, 1.235)
    after = TRANSITIONS[transition](before)
    assert (after.seconds_used, after.seconds_running) == (8.735, None)


def test_time_is_added_when_the_mail_is_given_up_with_the_task() -> None:
    before = replace(STATES["running"], seconds_used=7.5).timed(1)
    after = before.ended(Failed(FAILURE, allow_deliveries=False), LATER, retention=RETENTION)
    assert after.mail_status is MailStatus.REFUSED
    assert (after.seconds_used, after.seconds_running) == (8.5, None)


def test_time_of_an_attempt_given_back_is_not_counted() -> None:
    released = replace(STATES["running"], seconds_used=7.5).timed(1).released(LATER)
    assert (released.seconds_used, released.seconds_running) == (7.5, None)


def test_field_that_a_document_lacks_has_its_default() -> None:
    document = to_document(FULL_TASK)
    required = {"_id", "status", "url", "submitted_at"}
    task = from_document({name: document[name] for name in required})
    expected = Task(
        id=FULL_TASK.id,
        url=FULL_TASK.url,
        submitted_at=NOW,
        wake_at=None,
        steps=(Step(StepKind.COMPUTE_MD5, StepState.FAILED),),
    )
    assert task == expected


@pytest.mark.parametrize(
    "task",
    [*STATES.values(), FULL_TASK, BATCH, BATCH.without_deliveries(), LANE],
    ids=[*STATES, "full", "batch", "batch without its mail", "lane"],
)
def test_document_round_trip(task: Task) -> None:
    document = to_document(task)
    assert from_document(document) == task
    assert document["_id"] == task.id
    assert type(document[task.steps[0].row.status_field]) is str


def test_the_full_task_has_every_field() -> None:
    others = {"batch": BATCH.batch, "lane": LANE.lane}
    for name in (each.name for each in fields(Task)):
        assert others.get(name, getattr(FULL_TASK, name)) is not None, name


def test_document_has_the_format_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "format" not in to_document(make_task(ADDRESS))
    newer = {**ROWS, StepKind.SEND_EMAIL: replace(ROWS[StepKind.SEND_EMAIL], format=2)}
    monkeypatch.setattr("tasks.step.ROWS", newer)
    assert to_document(make_task(ADDRESS))["format"] == 2
    assert "format" not in to_document(make_task())
