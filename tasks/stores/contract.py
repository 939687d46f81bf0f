"""The contract of every store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from tasks.step import Status, StepKind
from tasks.task import Task


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The tasks that are not settled: how many, and when the oldest of them was submitted.

    Tasks are overdue from the moment they are due until a message for them is out, or an actor
    claims them. One that is done or failed has a mail to come.
    """

    by_status: Mapping[Status, int]
    overdue: int
    oldest: datetime | None

    @classmethod
    def of(cls, groups: Iterable[tuple[str, int, int, datetime]]) -> Self:
        """From the number, the overdue and the oldest of each status."""
        by_status, overdue, oldest = dict.fromkeys(Status, 0), 0, []
        for status, tasks, late, first in groups:
            by_status[Status(status)] = tasks
            overdue += late
            oldest.append(first)
        return cls(by_status, overdue, min(oldest, default=None))

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


class TaskStore(Protocol):
    """Documents, one a task. What a method has returned from is durable, unless it says otherwise.

    Every method may be called from any thread, and raises StoreUnavailableError when the store
    cannot do its part; the change may then have been made all the same.
    """

    def now(self) -> datetime:
        """The store's time, in whole milliseconds: one clock for everybody who shares the store."""

    def insert(self, task: Task) -> None:
        """Remember a new task. Raises DuplicateTaskError when its id is taken."""

    def insert_all(self, tasks: Sequence[Task]) -> set[str]:
        """Remember new tasks in one go; the ids among them that are taken, whose tasks are not."""

    def get(self, task_id: str) -> Task | None:
        """Return the task as it is now, or None if there is none of that id.

        Raises NewerTaskError if a newer version has written it.
        """

    def save(self, task: Task) -> Task | None:
        """Write the next value of a task over the version that it came from (compare-and-swap).

        Returns the task with its new version, or None when somebody else was first; then nothing
        was written.
        """

    def claim(
        self, task_id: str, kind: StepKind, now: datetime, lease: timedelta, token: str
    ) -> Task | None:
        """Claim a task's next step: read the task and save what `claimed_for` makes of it, in one.

        Returns None if there is no such task, if its next step is another one, if it pauses, or if
        a newer version has written it. Then nothing was written. The claim of a repeatable step
        need not be durable.
        """

    def take_due(self, now: datetime, hold_until: datetime, limit: int) -> list[Task]:
        """Tasks whose wake_at has passed, each to one caller only, the longest due first.

        They are returned with the wake_at that they had. In the store it is moved to `hold_until`,
        so that they are due again if this caller does nothing about them; their version stays.
        Until `mark_dispatched`, `save` or `claim` they remain overdue. Tasks that a newer version
        has written are left alone. At most `limit` tasks; need not be durable.
        """

    def mark_dispatched(self, tasks: Collection[Task]) -> None:
        """Write `wake_at` and `dispatched_at` of tasks just dispatched, where they are untouched.

        One whose version has moved on is left as it is, and no version is changed: a claim in
        flight must not lose against this. Need not be durable.
        """

    def wake_unclaimed(self, now: datetime) -> None:
        """Make every task due that waits for a message: the broker has forgotten them all.

        It counts as not dispatched again. One that is claimed, or that pauses before its next
        attempt, is left as it is.
        """

    def count_hits(self, hits: Mapping[str, int], until: datetime) -> dict[str, int]:
        """Count so many more hits of each key in the window that ends at `until`.

        Returns how many each has had then. The counters are forgotten after the window. Need not
        be durable.
        """

    def count_unsettled(self, most: int) -> int:
        """How many tasks are not settled, up to so many. Takes time in proportion to it."""

    def survey(self, now: datetime) -> Unsettled:
        """Count the tasks that are not settled, and those overdue before `now`.

        Takes time in proportion to their number.
        """

    def count_stored(self) -> int:
        """How many tasks there are, give or take a few. May take time in proportion to it."""

    def remove_settled(self, limit: int) -> int:
        """Remove settled tasks, those that expire first, and return how many.

        At most `limit` tasks; need not be durable.
        """

    def ping(self) -> None:
        """Return when the store answers."""

    def close(self) -> None:
        """Let go of connections and files. Nothing else may be called afterwards."""
