"""The steps of a task: what kinds there are, which states they have, and how they are stored.

A task's work is a sequence of steps, in the order of `ROWS`: first its digest is computed, then
the result is delivered. Every step has the same lifecycle. It waits, is claimed by a worker, and
waits again or is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self


class StepKind(StrEnum):
    """What is to be done. The value is also the name of a queue and of its actor."""

    COMPUTE_MD5 = "compute_md5"
    RUN_BATCH = "run_batch"
    RUN_LANE = "run_lane"
    SEND_EMAIL = "send_email"


class StepState(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"  # for its first attempt or for the next one
    DELAYED = "delayed"  # held back by a limit, which costs no attempt
    CLAIMED = "claimed"  # a worker is at it
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_waiting(self) -> bool:
        return self in _WAITING

    @property
    def is_over(self) -> bool:
        return self in _OVER


_WAITING = (StepState.WAITING, StepState.DELAYED)
_OVER = (StepState.SUCCEEDED, StepState.FAILED)


class Status(StrEnum):
    """The state of the computation, and so of the task, as users see it."""

    QUEUED = "queued"  # for its first attempt or for the next one
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class MailStatus(StrEnum):
    """The state of the email about the result, as users see it."""

    PENDING = "pending"
    DELAYED = "delayed"  # over the limit of its recipient, sent later
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"  # given up: by the recipient's server, by a limit, or for a refused URL


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """What is the same for all steps of a kind."""

    requested_by: str  # the field of the task that asks for it, if it has a value
    status_field: str  # of the document, as is `attempt_field`
    attempt_field: str
    names: Mapping[StepState, StrEnum]  # of the states, in the document and for users
    max_attempts: int | None  # None: as many as the settings allow
    is_repeatable: bool  # whether a second run does no harm, so that its claim need not be durable
    is_timed: bool = False  # whether its attempts share a time budget
    format: int = 1  # of documents with such a step, which versions of a lower format leave alone

    @property
    def names_of_waiting(self) -> list[str]:
        return [name.value for state, name in self.names.items() if state.is_waiting]

    def state_named(self, name: str) -> StepState:
        """Return the state of that name. Raises ValueError if there is none."""
        for state, its_name in self.names.items():
            if its_name.value == name:
                return state
        raise ValueError(f"{name!r} is not a {self.status_field}")


ENDLESS = 1_000_000_000  # attempts of a step that downloads nothing itself
_OF_TASKS: Mapping[StepState, StrEnum] = MappingProxyType(
    {
        StepState.WAITING: Status.QUEUED,
        StepState.CLAIMED: Status.RUNNING,
        StepState.SUCCEEDED: Status.DONE,
        StepState.FAILED: Status.FAILED,
    }
)

ROWS: Mapping[StepKind, StepRow] = MappingProxyType(
    {
        StepKind.COMPUTE_MD5: StepRow(
            requested_by="url",
            status_field="status",
            attempt_field="attempt",
            names=_OF_TASKS,
            max_attempts=None,
            is_repeatable=True,
            is_timed=True,
        ),
        StepKind.RUN_BATCH: StepRow(
            requested_by="batch",
            status_field="status",
            attempt_field="attempt",
            names=_OF_TASKS,
            max_attempts=ENDLESS,
            is_repeatable=True,
            format=2,
        ),
        StepKind.RUN_LANE: StepRow(
            requested_by="lane",
            status_field="lane_status",
            attempt_field="attempt",
            names=_OF_TASKS,
            max_attempts=ENDLESS,
            is_repeatable=True,
            format=2,
        ),
        StepKind.SEND_EMAIL: StepRow(
            requested_by="email",
            status_field="mail_status",
            attempt_field="mail_attempt",
            names={
                StepState.WAITING: MailStatus.PENDING,
                StepState.DELAYED: MailStatus.DELAYED,
                StepState.CLAIMED: MailStatus.SENDING,
                StepState.SUCCEEDED: MailStatus.SENT,
                StepState.FAILED: MailStatus.REFUSED,
            },
            max_attempts=30,  # with the pauses between them, about a day
            is_repeatable=False,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a task. `attempt` counts the claims, except those that were given back."""

    kind: StepKind
    state: StepState = StepState.WAITING
    attempt: int = 0

    @property
    def row(self) -> StepRow:
        return ROWS[self.kind]

    @property
    def name(self) -> StrEnum:
        """The name of the state, in the document and for users."""
        return self.row.names[self.state]

    def claimed(self) -> Self:
        return replace(self, state=StepState.CLAIMED, attempt=self.attempt + 1)

    def uncounted(self, state: StepState) -> Self:
        """Return the step after an attempt that does not count."""
        return replace(self, state=state, attempt=self.attempt - 1)


def given_up(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return steps of which none follows the first one."""
    first, *others = steps
    return (first, *(replace(each, state=StepState.FAILED) for each in others))
