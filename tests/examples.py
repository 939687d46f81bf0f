"""Tasks in every state that they can be in, and what they are made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.batch import Batch, Lane, Member, Tally
from tasks.digests import Algorithm, Digest, Expected
from tasks.failure import Failure, FailureCode
from tasks.outcome import Delayed, Failed, RetryLater, Succeeded
from tasks.step import Step, StepKind, StepState
from tasks.stores.contract import TaskRepository
from tasks.task import Task

NOW = datetime(2024, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RETENTION = timedelta(days=36_500)  # no store may remove an example meanwhile
PAUSE = timedelta(seconds=5)
DIGEST = Digest(
    {Algorithm.MD5: "d41d8cd98f00b204e9800998ecf8427e"},
    0,
    "http://example.com/b",
    is_length_verified=True,
)
FAILURE = Failure(FailureCode.HTTP_STATUS, "The server answered 404 instead of 200.", 404)
ADDRESS = "someone@example.com"


def make_task(email: str | None = None, now: datetime = NOW) -> Task:
    return Task.new("http://example.com/a", now, email=email)


def insert(store: TaskRepository, task: Task) -> None:
    """Store a new task."""
    assert store.insert_all([task]) == set()


def attempts_at(task: Task, kind: StepKind) -> int:
    """Return how many attempts at the step have been made."""
    step = task.step(kind)
    assert step is not None
    return step.attempt


def with_attempt(task: Task, kind: StepKind, attempt: int) -> Task:
    """Return the task as if so many attempts at the step had been made."""
    steps = (replace(each, attempt=attempt) if each.kind is kind else each for each in task.steps)
    return replace(task, steps=tuple(steps))


def _make_states() -> dict[str, Task]:
    queued = make_task(ADDRESS)
    running = queued.claimed(NOW, LEASE)
    pending = running.ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    sending = pending.claimed(NOW, LEASE)
    retrying = running.ended(RetryLater(PAUSE, FAILURE), NOW, retention=RETENTION)
    quiet = make_task().claimed(NOW, LEASE)
    return {
        "queued": queued,
        "dispatched": queued.dispatched(NOW),
        "running": running,
        "retrying": retrying,
        "retry dispatched": running.ended(
            RetryLater(PAUSE, FAILURE), NOW, retention=RETENTION
        ).dispatched(NOW + PAUSE),
        "done, mail pending": pending,
        "done, mail sending": sending,
        "done, mail delayed": sending.ended(Delayed(PAUSE), NOW, retention=RETENTION),
        "done, mail sent": sending.ended(Succeeded(), NOW, retention=RETENTION),
        "done, mail refused": sending.ended(Failed(), NOW, retention=RETENTION),
        "failed, mail pending": running.ended(Failed(FAILURE), NOW, retention=RETENTION),
        "done": quiet.ended(Succeeded(DIGEST), NOW, retention=RETENTION),
        "failed": quiet.ended(Failed(FAILURE), NOW, retention=RETENTION),
    }


STATES = _make_states()

BATCH = Task.new(
    "",
    NOW,
    email=ADDRESS,
    batch=Batch(
        group="a group",
        total=1200,
        is_expecting=True,
        tally=Tally(done=1100, failed=4, mismatched=2, bytes_done=2**62),
    ),
)
LANE = Task.new("", NOW, lane=Lane(group="a group", host="b.example", batch_id=BATCH.id))

FULL_TASK = Task(
    id="6f1f2a52-0000-4000-8000-000000000001",
    url="https://b\xfccher.example/caf\xe9?q=\u4f60#\U0001f600",
    email=ADDRESS,
    expected=Expected(
        {Algorithm.MD5: "0" * 32, Algorithm.SHA512: "1" * 128},
        2**62,
    ),
    requested=(Algorithm.SHA256,),
    member=Member(group="a group", host="b.example", position=7, rank=8),
    submitted_at=NOW,
    version=7,
    steps=(
        Step(StepKind.COMPUTE_MD5, StepState.FAILED, 4),
        Step(StepKind.SEND_EMAIL, StepState.WAITING, 2),
    ),
    wake_at=NOW + timedelta(milliseconds=1),
    retry_at=NOW + timedelta(milliseconds=2),
    dispatched_at=NOW + timedelta(milliseconds=3),
    claim="0123456789abcdef",
    bytes_done=2**40 + 1,
    bytes_total=2**62,
    seconds_running=1.234,
    seconds_used=43200.5,
    finished_at=NOW + timedelta(hours=1),
    active_at=NOW + timedelta(milliseconds=4),
    digest=replace(
        DIGEST, size=2**62, is_length_verified=False, declared={Algorithm.SHA256: "2" * 64}
    ),
    failure=FAILURE,
    expires_at=NOW + timedelta(days=365_000),
)
