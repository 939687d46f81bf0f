"""The contract of every store, in small protocols by what is asked of it.

Every method may be called from any thread. It raises StoreUnavailableError if the store cannot do
its part; the change may have been made nevertheless. A write is durable when the method returns,
unless its docstring says otherwise.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, Self

from tasks.batch import Lane, Tally
from tasks.step import Status, StepKind
from tasks.task import Task


@dataclass(frozen=True, slots=True)
class BacklogStats:
    """The unfinished tasks: how many there are, and when the oldest ones were submitted.

    Tasks are overdue from the moment they are due until a message for them is out, or a worker
    claims them. One that is done or failed has a delivery to come. Lanes of batches are not tasks
    of users, so only their being overdue counts.
    """

    by_status: Mapping[Status, int]
    overdue: int
    oldest: Mapping[Status, datetime]  # of each status that a task has
    idle_since: datetime | None  # `active_at` of the batch that has been idle longest

    @classmethod
    def of(cls, groups: Iterable["BacklogGroup"]) -> Self:
        """Return the stats of the groups. The status of lanes is None."""
        by_status, overdue = dict.fromkeys(Status, 0), 0
        oldest: dict[Status, datetime] = {}
        idle: list[datetime] = []
        for name, tasks, late, first, active_at in groups:
            overdue += late
            if name is None:
                continue
            status = Status(name)
            by_status[status], oldest[status] = tasks, first
            if active_at is not None and status in UNFINISHED:  # else only its mail waits
                idle.append(active_at)
        return cls(by_status, overdue, oldest, min(idle, default=None))

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


# Tasks of one status: the status, their number, the number overdue, the oldest submission, and the
# lowest `active_at`.
BacklogGroup = tuple[str | None, int, int, datetime, datetime | None]
UNFINISHED = (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The file system with the tasks, in bytes. `free` is what the store may still use."""

    free: int
    size: int


Order = Literal["position", "rank"]


class Clock(Protocol):
    """The time of everybody who shares the store."""

    def now(self) -> datetime:
        """Return the time of the store, aware UTC in whole milliseconds."""


class TaskRepository(Clock, Protocol):
    """Stores one document per task."""

    def insert_all(self, tasks: Sequence[Task]) -> set[str]:
        """Store new tasks in one write. Returns the ids that were taken already."""

    def get(self, task_id: str) -> Task | None:
        """Return the task as it is now, or None if there is none of that id.

        Raises NewerTaskError if a newer version has written it.
        """

    def ended(self, task_ids: Collection[str]) -> list[Task]:
        """Return those of the tasks that have ended, in one query. Their mails may be on the way.

        Tasks that a newer version has written are left out.
        """

    def save(self, task: Task) -> Task | None:
        """Write the next value of a task over the version that it came from (compare-and-swap).

        Returns the task with its new version, or None if another writer was first. Then nothing
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


class Schedule(Clock, Protocol):
    """Knows when tasks are due."""

    def take_due(self, now: datetime, visible_again_at: datetime, limit: int) -> list[Task]:
        """Return tasks whose wake_at has passed, each to one caller only, the longest due first.

        They are returned with the wake_at that they had. In the store it becomes
        `visible_again_at`, so that they are due again if this caller does nothing about them. Their
        version stays. Until `mark_dispatched`, `save` or `claim` they remain overdue. Tasks that a
        newer version has written are left alone. At most `limit` tasks. Need not be durable.
        """

    def mark_dispatched(self, tasks: Collection[Task]) -> None:
        """Write `wake_at` and `dispatched_at` of tasks just dispatched, where they are untouched.

        A task whose version has changed is left as it is, and no version is changed: a claim in
        flight must not lose against this. Need not be durable.
        """

    def wake_unclaimed(self, now: datetime) -> None:
        """Make every task due that waits for a message: the broker has forgotten them all.

        Such a task counts as not dispatched. One that is claimed, or that pauses before its next
        attempt, is left as it is.
        """


class HitCounter(Clock, Protocol):
    """Counts hits for rate limits."""

    def count_hits(self, hits: Mapping[str, int], until: datetime) -> dict[str, int]:
        """Add hits to each key in the window that ends at `until`.

        Returns the number of hits of each key afterwards. The counters are removed after the
        window. Need not be durable.
        """


class Statistics(Clock, Protocol):
    """Counts the stored tasks, and removes those that are too many."""

    def count_unfinished(self, limit: int) -> int:
        """Return how many tasks are unfinished, at most `limit`. Takes time in proportion."""

    def backlog(self, now: datetime) -> BacklogStats:
        """Count the unfinished tasks, and those overdue before `now`.

        Takes time in proportion to their number.
        """

    def count_stored(self) -> int:
        """Return about how many tasks are stored. May take time in proportion to their number."""

    def disk_space(self) -> DiskSpace | None:
        """Return the space on the disk of the tasks; None if the server does not report it."""

    def remove_settled(self, limit: int) -> int:
        """Remove up to `limit` settled tasks, those that expire first, and return how many.

        Need not be durable.
        """


class Members(Protocol):
    """The members of batches, by their group. All methods raise StoreUnavailableError."""

    def activate(self, group: str) -> None:
        """Make inserted members wait for their lanes, and the lanes due. Repeats do no harm."""

    def claim(
        self, lane: Lane, limit: int, *, now: datetime, lease: timedelta, token: str
    ) -> list[Task]:
        """Claim up to `limit` members of a lane, in the order of their positions.

        Those that have paused come after the others, once they are due again. It costs the same for
        any number of members. A claim may be lost in a power cut.
        """

    def claimed(self, lane: Lane, token: str) -> list[Task]:
        """Return the members that a claim of this token has claimed, in the order of the list."""

    def save_all(self, tasks: Sequence[Task]) -> list[Task | None]:
        """Do as `save` for each, in one durable write."""

    def rest(self, lane: Lane, until: datetime) -> None:
        """Keep members of a host from being claimed before `until`.

        It costs the same for any number of members. A rest may be lost in a power cut.
        """

    def due_at(self, lane: Lane) -> datetime | None:
        """Return when the first waiting member of a lane may be claimed; None if none waits."""

    def is_unfinished(self, group: str, host: str | None = None) -> bool:
        """Whether a member, or one of a host, has not ended.

        It costs the same for any number of members.
        """

    def is_running(self, group: str) -> bool:
        """Whether a member is being downloaded. It costs the same for any number of members."""

    def has_lane(self, group: str) -> bool:
        """Whether a lane has not ended. Takes time in proportion to the lanes."""

    def count(self, group: str) -> int:
        """Count the members, in one query."""

    def tally(self, group: str) -> Tally:
        """Count the members that have ended, in one query."""

    def pages(self, group: str, order: Order, limit: int, after: int = -1) -> list[Task]:
        """Return up to `limit` members in an order, after that number."""

    def failed(self, group: str, limit: int) -> list[Task]:
        """Return up to `limit` members that have failed, by their host and their position."""

    def cancel(self, group: str, now: datetime) -> int:
        """Apply `Task.cancelled` to all members that have not ended; return their number.

        One that changes at that moment may be left out, so repeat it while `is_unfinished`. The
        number of operations depends on that of the members, but not on what becomes of them.
        """

    def expire(self, group: str, expires_at: datetime) -> None:
        """Let the members, all of which have ended, expire at a moment."""

    def remove_ended(self, group: str, before: datetime) -> int:
        """Remove the members and lanes that ended before a moment; return their number.

        Those that have not ended stay.
        """


class TaskStore(TaskRepository, Schedule, HitCounter, Statistics, Protocol):
    """Everything that is asked of a store."""

    @property
    def members(self) -> Members:
        """The members of batches."""

    @property
    def description(self) -> str:
        """What kind of store this is and where, without its URL."""

    def ping(self) -> None:
        """Return when the store answers."""

    def close(self) -> None:
        """Release connections and files. No other method may be called afterwards."""
