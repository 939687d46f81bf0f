"""A task: an immutable value whose every change is a pure method that returns the next value."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from tasks.digests import Digest
from tasks.errors import IllegalTransitionError
from tasks.failure import Failure, FailureCode

# How long a message may take from the store to an actor before somebody looks again.
UNPUBLISHED_PAUSE = timedelta(seconds=30)  # written, and nobody knows yet whether a message got out
PUBLISHED_PAUSE = timedelta(minutes=5)  # the broker has confirmed it
LONGEST_PAUSE = timedelta(hours=1)  # the message is still waiting behind many others

CLOCK_TOLERANCE = timedelta(seconds=1)
MAX_MAIL_ATTEMPTS = 30  # with the pauses between them, about a day


class Status(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"  # for its first attempt, or for the next one
    RUNNING = "running"  # an actor has claimed it
    DONE = "done"
    FAILED = "failed"


class MailStatus(StrEnum):
    """Where the mail about a task's end stands."""

    PENDING = "pending"
    DELAYED = "delayed"  # one too many for its recipient; it is sent later
    SENDING = "sending"  # an actor has claimed it
    SENT = "sent"
    REFUSED = "refused"  # given up: by the recipient's server, by a limit, or with a refused URL


class Step(StrEnum):
    """What an actor has to do next for a task."""

    COMPUTE_MD5 = "compute_md5"
    SEND_EMAIL = "send_email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One URL to hash. Times are aware UTC, in whole milliseconds.

    A task that is not settled has a `wake_at`: the moment at which the sweeper looks at it again,
    whatever happened. `version` counts the changes; the store saves the next value only over the
    one it came from, so it is the fencing token of a claim.
    """

    id: str
    url: str
    email: str | None = None
    expected_md5: str | None = None
    submitted_at: datetime
    version: int = 1
    status: Status = Status.QUEUED
    wake_at: datetime | None
    retry_at: datetime | None = None  # an earlier message is a stray copy
    dispatched_at: datetime | None = None  # a message for the next step was confirmed
    claim: str | None = None  # the last claim's token
    attempt: int = 0  # claims so far, those given back not counted
    bytes_done: int | None = None
    bytes_total: int | None = None
    seconds_running: float | None = None  # of the attempt under way, up to its last renewal
    seconds_used: float = 0.0  # by earlier attempts, those given back not counted
    finished_at: datetime | None = None
    digest: Digest | None = None
    failure: Failure | None = None  # of the last attempt, also while another one is waiting
    mail_status: MailStatus | None = None
    mail_attempt: int = 0
    expires_at: datetime | None = None

    @classmethod
    def new(
        cls,
        url: str,
        now: datetime,
        *,
        email: str | None = None,
        expected_md5: str | None = None,
        task_id: str | None = None,
    ) -> Self:
        return cls(
            id=task_id or str(uuid.uuid4()),
            url=url,
            email=email,
            expected_md5=expected_md5,
            submitted_at=now,
            wake_at=now + UNPUBLISHED_PAUSE,
        )

    def is_same_order(self, other: Self) -> bool:
        """Whether both ask for the same, whatever has become of either."""
        return (self.url, self.email, self.expected_md5) == (
            other.url,
            other.email,
            other.expected_md5,
        )

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do, mail included."""
        return self.wake_at is None

    @property
    def next_step(self) -> Step | None:
        """What a message is to be sent for; None while an actor is at it, or nothing is left."""
        if self.status is Status.QUEUED:
            return Step.COMPUTE_MD5
        return Step.SEND_EMAIL if self._is_mail_due else None

    @property
    def _is_mail_due(self) -> bool:
        return self.mail_status in (MailStatus.PENDING, MailStatus.DELAYED)

    def is_pausing(self, now: datetime) -> bool:
        """Whether it is too early for the next attempt, give or take what two clocks differ."""
        return self.retry_at is not None and now + CLOCK_TOLERANCE < self.retry_at

    @property
    def is_verified(self) -> bool | None:
        """Whether the digest is the expected one; None when either is missing."""
        if self.digest is None or self.expected_md5 is None:
            return None
        return self.digest.md5 == self.expected_md5

    @property
    def is_claimed(self) -> bool:
        return self.status is Status.RUNNING or self.mail_status is MailStatus.SENDING

    def dispatched(self, now: datetime) -> Self:
        """A message was confirmed. The version stays: a claim may be on its way."""
        self._require(self.next_step is not None, "dispatched")
        return replace(self, dispatched_at=now, wake_at=now + PUBLISHED_PAUSE)

    def still_waiting(self, now: datetime) -> Self:
        """Its message stands in a long queue: look again when it has waited twice as long."""
        self._require(self.next_step is not None and self.dispatched_at is not None, "put off")
        assert self.dispatched_at is not None
        pause = min(max(now - self.dispatched_at, PUBLISHED_PAUSE), LONGEST_PAUSE)
        return replace(self, wake_at=now + pause)

    def claimed(self, now: datetime, lease: timedelta, claim: str | None = None) -> Self:
        """An actor begins an attempt and has it for the length of the lease.

        `claim` is a token of its own, by which a write whose answer got lost is recognised.
        """
        self._require(self.status is Status.QUEUED, "claimed")
        return replace(
            self,
            status=Status.RUNNING,
            attempt=self.attempt + 1,
            wake_at=now + lease,
            retry_at=None,
            dispatched_at=None,
            claim=claim,
            bytes_done=None,
            bytes_total=None,
        )

    def claimed_for(
        self, step: Step, now: datetime, lease: timedelta, claim: str | None = None
    ) -> Self | None:
        """`claimed` or `mail_claimed`; None if the step is not the next one, or it is too early."""
        if self.next_step is not step or self.is_pausing(now):
            return None
        if step is Step.COMPUTE_MD5:
            return self.claimed(now, lease, claim)
        return self.mail_claimed(now, lease, claim)

    def renewed(self, now: datetime, lease: timedelta) -> Self:
        """The actor that has claimed the task or its mail is alive: the lease begins anew."""
        self._require(self.is_claimed, "renewed")
        return replace(self, wake_at=now + lease)

    def progressed(self, done: int, total: int | None) -> Self:
        """So many bytes are hashed, of so many in all (None: the origin doesn't say)."""
        self._require(self.status is Status.RUNNING, "progressed")
        return replace(self, bytes_done=done, bytes_total=total)

    def timed(self, seconds: float) -> Self:
        """Note how many seconds the attempt under way has taken."""
        self._require(self.status is Status.RUNNING, "timed")
        return replace(self, seconds_running=round(seconds, 3))

    def _time_used(self) -> dict[str, Any]:
        """Return the changes that add the time of an attempt that has ended to the task's."""
        used = round(self.seconds_used + (self.seconds_running or 0.0), 3)
        return {"seconds_used": used, "seconds_running": None}

    def released(self, now: datetime) -> Self:
        """The worker stops: the task is due at once, and an attempt under way does not count."""
        due = replace(self, wake_at=now, dispatched_at=None)
        if self.status is Status.RUNNING:
            return replace(
                due, status=Status.QUEUED, attempt=self.attempt - 1, seconds_running=None
            )
        self._require(self.next_step is not None, "released")
        return due

    def retry(self, now: datetime, pause: timedelta, failure: Failure) -> Self:
        """The attempt failed in a way that may pass; the next one begins after the pause."""
        self._require(self.status is Status.RUNNING, "retried")
        return replace(
            self,
            status=Status.QUEUED,
            wake_at=now + pause,
            retry_at=now + pause,
            dispatched_at=None,
            failure=failure,
            **self._time_used(),
        )

    def lost(self, now: datetime, *, max_attempts: int, retention: timedelta) -> Self:
        """The lease ran out: the worker died, or is cut off and must write nothing any more.

        The task is queued again, or fails when it had its last attempt. A claimed mail is pending
        again.
        """
        if self.mail_status is MailStatus.SENDING:
            if self.mail_attempt >= MAX_MAIL_ATTEMPTS:
                return self.mail_refused(now, retention=retention)
            return self._due_soon(now, mail_status=MailStatus.PENDING)
        self._require(self.status is Status.RUNNING, "lost")
        if self.attempt >= max_attempts:
            return self.failed(
                now,
                Failure(
                    FailureCode.WORKER_LOST,
                    f"The worker was lost during the last of {self.attempt} attempts.",
                ),
                retention=retention,
            )
        return self._due_soon(now, status=Status.QUEUED, **self._time_used())

    def done(self, now: datetime, digest: Digest, *, retention: timedelta) -> Self:
        self._require(self.status is Status.RUNNING, "done")
        return self._ended(now, retention, status=Status.DONE, digest=digest, failure=None)

    def failed(
        self, now: datetime, failure: Failure, *, retention: timedelta, allow_mail: bool = True
    ) -> Self:
        """The last attempt failed. Without `allow_mail` the mail is given up at once."""
        self._require(self.status is Status.RUNNING, "failed")
        return self._ended(
            now, retention, allow_mail=allow_mail, status=Status.FAILED, failure=failure
        )

    def _ended(
        self, now: datetime, retention: timedelta, *, allow_mail: bool = True, **changes: Any
    ) -> Self:
        """Store the result, and make the mail pending or give it up in the same write."""
        changes |= {"finished_at": now, **self._time_used()}
        if self.email is None:
            return self._settled(now, retention, **changes)
        if not allow_mail:
            return self._settled(now, retention, mail_status=MailStatus.REFUSED, **changes)
        return self._due_soon(now, mail_status=MailStatus.PENDING, **changes)

    def _due_soon(self, now: datetime, **changes: Any) -> Self:
        """A message is to follow at once; the sweeper looks whether it did."""
        return replace(self, wake_at=now + UNPUBLISHED_PAUSE, dispatched_at=None, **changes)

    def _settled(self, now: datetime, retention: timedelta, **changes: Any) -> Self:
        return replace(self, wake_at=None, expires_at=now + retention, **changes)

    def mail_claimed(self, now: datetime, lease: timedelta, claim: str | None = None) -> Self:
        """An actor begins to send the mail; `claim` as for `claimed`."""
        self._require(self._is_mail_due, "mailed")
        return replace(
            self,
            mail_status=MailStatus.SENDING,
            mail_attempt=self.mail_attempt + 1,
            wake_at=now + lease,
            retry_at=None,
            dispatched_at=None,
            claim=claim,
        )

    def mail_sent(self, now: datetime, *, retention: timedelta) -> Self:
        self._require(self.mail_status is MailStatus.SENDING, "mailed")
        return self._settled(now, retention, mail_status=MailStatus.SENT)

    def mail_retry(self, now: datetime, pause: timedelta) -> Self:
        """The mail did not get out this time; the next try begins after the pause."""
        self._require(self.mail_status is MailStatus.SENDING, "mailed again")
        return replace(
            self, mail_status=MailStatus.PENDING, wake_at=now + pause, retry_at=now + pause
        )

    def mail_delayed(self, now: datetime, pause: timedelta) -> Self:
        """The mail is one too many for its recipient now. That was no try to send it."""
        self._require(self.mail_status is MailStatus.SENDING, "delayed")
        return replace(
            self,
            mail_status=MailStatus.DELAYED,
            mail_attempt=self.mail_attempt - 1,
            wake_at=now + pause,
            retry_at=now + pause,
        )

    def mail_refused(self, now: datetime, *, retention: timedelta) -> Self:
        """The mail will never get out; the task is settled without it."""
        self._require(self.mail_status is MailStatus.SENDING, "refused its mail")
        return self._settled(now, retention, mail_status=MailStatus.REFUSED)

    def _require(self, is_legal: bool, change: str) -> None:  # noqa: FBT001
        if not is_legal:
            raise IllegalTransitionError(
                f"Task {self.id} cannot be {change}: it is {self.status}, mail {self.mail_status}."
            )
