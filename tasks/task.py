"""A task: an immutable value whose every change is a pure method that returns the next value."""

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from tasks.batch import PARKED, Batch, Lane, Member, Tally
from tasks.digests import ALWAYS, NOTHING_EXPECTED, Algorithm, Digest, Expected
from tasks.errors import IllegalTransitionError
from tasks.failure import CANCELLED, Failure, FailureCode
from tasks.outcome import Delayed, Failed, GivenBack, Outcome, RetryLater, Succeeded, Unfinished
from tasks.pauses import CLOCK_TOLERANCE, LONGEST_PAUSE, PUBLISHED_PAUSE, UNPUBLISHED_PAUSE
from tasks.step import ROWS, MailStatus, Status, Step, StepKind, StepState, given_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One URL to hash, a batch of them, or a lane. Times are aware UTC, in whole milliseconds.

    A task that is not settled has a `wake_at`, the moment at which the sweeper looks at it again,
    whatever happened. `version` counts the changes. The store saves the next value only over the
    one it came from, so `version` is the fencing token of a claim.
    """

    id: str
    url: str = ""
    email: str | None = None
    expected: Expected = NOTHING_EXPECTED
    requested: tuple[Algorithm, ...] = ()  # digests besides those of every download
    member: Member | None = None
    batch: Batch | None = None
    lane: Lane | None = None
    submitted_at: datetime
    version: int = 1
    steps: tuple[Step, ...] = field(default=(Step(StepKind.COMPUTE_MD5),))
    wake_at: datetime | None
    retry_at: datetime | None = None  # an earlier message is a stray copy
    dispatched_at: datetime | None = None  # when a message for the next step was confirmed
    claim: str | None = None  # the token of the last claim
    bytes_done: int | None = None
    bytes_total: int | None = None
    seconds_running: float | None = None  # of the attempt under way, up to its last renewal
    seconds_used: float = 0.0  # by earlier attempts, except those given back
    finished_at: datetime | None = None
    active_at: datetime | None = None  # of a batch: when a look last found that it had moved
    digest: Digest | None = None
    failure: Failure | None = None  # of the last attempt, also while another one is waiting
    expires_at: datetime | None = None

    @classmethod
    def new(
        cls,
        url: str,
        now: datetime,
        *,
        task_id: str | None = None,
        **fields: Any,
    ) -> Self:
        """Return a task that waits for the first of its steps. `fields` are those of a Task."""
        fields = {
            "id": task_id or str(uuid.uuid4()),
            "url": url,
            "submitted_at": now,
            "wake_at": now + UNPUBLISHED_PAUSE,
            **fields,
        }
        steps = tuple(Step(kind) for kind, row in ROWS.items() if fields.get(row.requested_by))
        return cls(steps=steps, **fields)

    def step(self, kind: StepKind) -> Step | None:
        """Return the step of that kind, if the task has one."""
        return next((step for step in self.steps if step.kind is kind), None)

    @property
    def status(self) -> Status:
        """The state of the computation, which every task begins with."""
        return Status(self.steps[0].name)

    @property
    def attempt(self) -> int:
        """The number of attempts at the computation, except those given back."""
        return self.steps[0].attempt

    @property
    def mail_status(self) -> MailStatus | None:
        """The state of the email; None if there is none, or if it is not yet its turn."""
        email = self.step(StepKind.SEND_EMAIL)
        return MailStatus(email.name) if email and self.steps[0].state.is_over else None

    @property
    def current_step(self) -> Step | None:
        """The first step that is not over; None if the task is settled."""
        return next((step for step in self.steps if not step.state.is_over), None)

    @property
    def next_step(self) -> StepKind | None:
        """The step that needs a message; None while one is claimed, or if nothing is left."""
        step = self.current_step
        return step.kind if step and step.state.is_waiting else None

    @property
    def claimed_step(self) -> Step | None:
        """The step that a worker has claimed."""
        step = self.current_step
        return step if step and step.state is StepState.CLAIMED else None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do, mail included."""
        return self.wake_at is None

    def is_pausing(self, now: datetime) -> bool:
        """Whether it is too early for the next attempt, with a tolerance for two clocks."""
        return self.retry_at is not None and now + CLOCK_TOLERANCE < self.retry_at

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The digests to compute: those of every download, those requested, those expected."""
        return tuple(dict.fromkeys((*ALWAYS, *self.requested, *self.expected.hexdigests)))

    @property
    def mismatches(self) -> list[str] | None:
        """What is not as expected; None if there is no digest, or if nothing is expected."""
        if self.digest is None or not self.expected.is_something:
            return None
        return self.expected.mismatches(self.digest)

    @property
    def is_verified(self) -> bool | None:
        """Whether everything is as expected; None where `mismatches` is."""
        mismatches = self.mismatches
        return None if mismatches is None else not mismatches

    def dispatched(self, now: datetime) -> Self:
        """A message was confirmed. The version stays: a claim may be on its way."""
        self._require_waiting("dispatched")
        return replace(self, dispatched_at=now, wake_at=now + PUBLISHED_PAUSE)

    def still_waiting(self, now: datetime) -> Self:
        """Its message is in a long queue: look again when it has waited twice as long."""
        self._require_waiting("put off")
        if self.dispatched_at is None:
            raise self._illegal("put off")
        pause = min(max(now - self.dispatched_at, PUBLISHED_PAUSE), LONGEST_PAUSE)
        return replace(self, wake_at=now + pause)

    def claimed(self, now: datetime, lease: timedelta, claim: str | None = None) -> Self:
        """A worker begins an attempt at the next step and has it for the length of the lease.

        `claim` is a token of its own, by which a write whose answer got lost is recognised.
        """
        step = self._require_waiting("claimed")
        return self._with_step(
            step.claimed(),
            wake_at=now + lease,
            retry_at=None,
            dispatched_at=None,
            claim=claim,
            bytes_done=None,
            bytes_total=None,
        )

    def claimed_for(
        self, kind: StepKind, now: datetime, lease: timedelta, claim: str | None = None
    ) -> Self | None:
        """`claimed`, or None if the step is not the next one or it is too early."""
        if self.next_step is not kind or self.is_pausing(now):
            return None
        return self.claimed(now, lease, claim)

    def renewed(self, now: datetime, lease: timedelta) -> Self:
        """The worker that has claimed the step is alive: the lease starts again."""
        self._require_claimed("renewed")
        return replace(self, wake_at=now + lease)

    def progressed(self, done: int, total: int | None) -> Self:
        """`done` bytes are hashed, of `total` (None: the origin does not say)."""
        self._require_claimed("progressed")
        return replace(self, bytes_done=done, bytes_total=total)

    def timed(self, seconds: float) -> Self:
        """Note how many seconds the attempt under way has taken, if they count."""
        step = self._require_claimed("timed")
        return replace(self, seconds_running=round(seconds, 3)) if step.row.is_timed else self

    def released(self, now: datetime) -> Self:
        """The task is due at once, and an attempt under way does not count."""
        if self.claimed_step is None:
            self._require_waiting("released")
            return replace(self, wake_at=self._next_look(now), dispatched_at=None)
        return self._with_step(
            self.claimed_step.uncounted(StepState.WAITING),
            wake_at=self._next_look(now),
            dispatched_at=None,
            seconds_running=None,
        )

    def woken(self, now: datetime) -> Self:
        """The reason for the pause of the next step is gone."""
        self._require_waiting("woken")
        return replace(self, wake_at=now + UNPUBLISHED_PAUSE, retry_at=None, dispatched_at=None)

    def without_deliveries(self) -> Self:
        """Nothing follows the computation, whatever it comes to."""
        return replace(self, steps=given_up(self.steps))

    def cancelled(self, now: datetime, *, retention: timedelta, tally: Tally | None = None) -> Self:
        """The client does not want it any more: it is over, and nothing follows.

        A worker that is at it loses its claim. A task has failed then. A batch whose members have
        ended is done, with their tally.
        """
        if self.steps[0].state.is_over:
            raise self._illegal("cancelled")
        state, changes = StepState.FAILED, self._failed_with(CANCELLED)
        if self.batch is not None:
            state, changes = StepState.SUCCEEDED, self._tallied(tally)
        changes |= {"retry_at": None, "dispatched_at": None}
        over = replace(self.steps[0], state=state)
        return self.without_deliveries()._over(over, now, retention, **changes)  # noqa: SLF001  our own

    def lost(self, now: datetime, *, max_attempts: int, retention: timedelta) -> Self:
        """The lease expired: the worker died, or is cut off and must not write any more.

        The step waits again, or fails if that was its last attempt. `max_attempts` is for steps
        whose row has no number of its own.
        """
        step = self._require_claimed("lost")
        if step.attempt >= (step.row.max_attempts or max_attempts):
            failure = Failure(
                FailureCode.WORKER_LOST,
                f"The worker was lost during the last of {step.attempt} attempts.",
            )
            return self.ended(Failed(failure), now, retention=retention)
        waiting = replace(step, state=StepState.WAITING)
        return self._with_step(waiting, **self._due_soon(now), **self._time_used())

    def ended(self, outcome: Outcome, now: datetime, *, retention: timedelta) -> Self:
        """The attempt under way has come to its outcome."""
        step = self._require_claimed("ended")
        match outcome:
            case GivenBack():
                return self.released(now)
            case RetryLater() | Delayed() | Unfinished():
                return self._continued(step, outcome, now)
            case Succeeded(digest) if (digest is not None) != (step.kind is StepKind.COMPUTE_MD5):
                raise self._illegal("ended")  # the computation has a result, a delivery has none
            case Succeeded(digest, tally, allow_deliveries):
                succeeded = replace(step, state=StepState.SUCCEEDED)
                over = self if allow_deliveries else self.without_deliveries()
                changes = {"digest": digest, "failure": None} if digest else self._tallied(tally)
                return over._over(succeeded, now, retention, **changes)  # noqa: SLF001  our own
            case Failed(failure, allow_deliveries):
                failed = replace(step, state=StepState.FAILED)
                over = self if allow_deliveries else self.without_deliveries()
                changes = self._failed_with(failure)
                return over._over(failed, now, retention, **changes)  # noqa: SLF001  our own

    def _continued(
        self, step: Step, outcome: RetryLater | Delayed | Unfinished, now: datetime
    ) -> Self:
        """The step waits for its next turn."""
        match outcome:
            case RetryLater(pause, failure):
                waiting = replace(step, state=StepState.WAITING)
                return self._paused(waiting, now + pause, **self._failed_with(failure))
            case Delayed() if StepState.DELAYED not in step.row.names:
                raise self._illegal("delayed")
            case Delayed(pause):
                return self._paused(step.uncounted(StepState.DELAYED), now + pause)
            case Unfinished(pause, tally, is_active):
                waiting = step.uncounted(StepState.WAITING)
                changes = self._tallied(tally) | self._activity(tally, now, is_active=is_active)
                if pause is None:
                    return self._with_step(waiting, **changes, **self._due_soon(now))
                return self._paused(waiting, now + pause, **changes)

    def _failed_with(self, failure: Failure | None) -> dict[str, Any]:
        """Return the changes of a failure. A delivery's must not replace the task's result."""
        return {} if failure is None or self.finished_at else {"failure": failure}

    def _tallied(self, tally: Tally | None) -> dict[str, Any]:
        return {"batch": replace(self.batch, tally=tally)} if self.batch and tally else {}

    def _activity(self, tally: Tally | None, now: datetime, *, is_active: bool) -> dict[str, Any]:
        """Return the changes of a batch that moves, or that a version without `active_at` wrote."""
        if self.batch is None:
            return {}
        has_moved = is_active or tally != self.batch.tally or self.active_at is None
        return {"active_at": now} if has_moved else {}

    def _paused(self, step: Step, until: datetime, **changes: Any) -> Self:
        # Stores keep milliseconds, and a saved task is recognised by its equality.
        until = until.replace(microsecond=until.microsecond // 1000 * 1000)
        return self._with_step(
            step,
            wake_at=self._next_look(until),
            retry_at=until,
            dispatched_at=None,
            **self._time_used(),
            **changes,
        )

    def _over(self, step: Step, now: datetime, retention: timedelta, **changes: Any) -> Self:
        """A step is over: in the same write, the next one is due or the task is settled."""
        steps = self._steps_with(step)
        if all(each.state.is_over for each in steps):
            # A member expires with its batch.
            next_look = {"wake_at": None, "expires_at": None if self.member else now + retention}
        else:
            next_look = self._due_soon(now)
        changes |= {"finished_at": self.finished_at or now, **self._time_used(), **next_look}
        return replace(self, steps=steps, **changes)

    def _due_soon(self, now: datetime) -> dict[str, Any]:
        """Return the changes after which a message follows, and the sweeper makes sure of it."""
        return {"wake_at": self._next_look(now + UNPUBLISHED_PAUSE), "dispatched_at": None}

    def _next_look(self, at: datetime) -> datetime:
        """Return when the sweeper is to look at a waiting task. Members wait for their lane."""
        return PARKED if self.member else at

    def _time_used(self) -> dict[str, Any]:
        """Return the changes that add the time of an attempt that has ended to the task's."""
        used = round(self.seconds_used + (self.seconds_running or 0.0), 3)
        return {"seconds_used": used, "seconds_running": None}

    def _with_step(self, step: Step, **changes: Any) -> Self:
        return replace(self, steps=self._steps_with(step), **changes)

    def _steps_with(self, step: Step) -> tuple[Step, ...]:
        return tuple(step if each.kind is step.kind else each for each in self.steps)

    def _require_waiting(self, change: str) -> Step:
        step = self.current_step
        if step is None or not step.state.is_waiting:
            raise self._illegal(change)
        return step

    def _require_claimed(self, change: str) -> Step:
        if self.claimed_step is None:
            raise self._illegal(change)
        return self.claimed_step

    def _illegal(self, change: str) -> IllegalTransitionError:
        states = ", ".join(f"{each.kind} {each.state}" for each in self.steps)
        return IllegalTransitionError(f"Task {self.id} cannot be {change}: {states}.")
