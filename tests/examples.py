"""Tasks in every state that they can be in, and what they are made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.digests import Digest
from tasks.failure import Failure, FailureCode
from tasks.task import MailStatus, Status, Task

NOW = datetime(2024, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RETENTION = timedelta(days=36_500)  # no store may remove an example meanwhile
PAUSE = timedelta(seconds=5)
DIGEST = Digest("d41d8cd98f00b204e9800998ecf8427e", 0, "http://example.com/b", True)  # noqa: FBT003
FAILURE = Failure(FailureCode.HTTP_STATUS, "The server answered 404.", 404)
ADDRESS = "someone@example.com"


def make_task(email: str | None = None, now: datetime = NOW) -> Task:
    return Task.new("http://example.com/a", now, email=email)


def _make_states() -> dict[str, Task]:
    queued = make_task(ADDRESS)
    running = queued.claimed(NOW, LEASE)
    pending = running.done(NOW, DIGEST, retention=RETENTION)
    sending = pending.mail_claimed(NOW, LEASE)
    quiet = make_task().claimed(NOW, LEASE)
    return {
        "queued": queued,
        "dispatched": queued.dispatched(NOW),
        "running": running,
        "retrying": running.retry(NOW, PAUSE, FAILURE),
        "retry dispatched": running.retry(NOW, PAUSE, FAILURE).dispatched(NOW + PAUSE),
        "done, mail pending": pending,
        "done, mail sending": sending,
        "done, mail delayed": sending.mail_delayed(NOW, PAUSE),
        "done, mail sent": sending.mail_sent(NOW, retention=RETENTION),
        "done, mail refused": sending.mail_refused(NOW, retention=RETENTION),
        "failed, mail pending": running.failed(NOW, FAILURE, retention=RETENTION),
        "done": quiet.done(NOW, DIGEST, retention=RETENTION),
        "failed": quiet.failed(NOW, FAILURE, retention=RETENTION),
    }


STATES = _make_states()

FULL_TASK = Task(
    id="6f1f2a52-0000-4000-8000-000000000001",
    url="https://b\xfccher.example/caf\xe9?q=\u4f60#\U0001f600",
    email=ADDRESS,
    expected_md5="0" * 32,
    submitted_at=NOW,
    version=7,
    status=Status.FAILED,
    wake_at=NOW + timedelta(milliseconds=1),
    retry_at=NOW + timedelta(milliseconds=2),
    dispatched_at=NOW + timedelta(milliseconds=3),
    claim="0123456789abcdef",
    attempt=4,
    bytes_done=2**40 + 1,
    bytes_total=2**62,
    seconds_running=1.234,
    seconds_used=43200.5,
    finished_at=NOW + timedelta(hours=1),
    digest=replace(DIGEST, size=2**62, is_length_verified=False),
    failure=FAILURE,
    mail_status=MailStatus.PENDING,
    mail_attempt=2,
    expires_at=NOW + timedelta(days=365_000),
)
