"""Batches for tests, put into a store as the service does."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.batch_submission import BatchSubmission
from service.lines import Entry, LineReader
from tasks.batch import Lane
from tasks.stores.contract import TaskStore
from tasks.task import Task


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch in a store, with its lanes and members in order."""

    task: Task
    group: str
    members: Sequence[Task]
    lanes: Sequence[Task]

    def lane_of(self, host: str) -> Lane:
        found = next(each.lane for each in self.lanes if each.lane and each.lane.host == host)
        assert found is not None
        return found


def read_lines(text: str, most: int | None = None) -> list[Entry]:
    """Return the entries of a list that arrives at once."""
    reader = LineReader(most)
    reader.feed(text)
    return reader.entries()


def store_batch(
    store: TaskStore,
    lines: Sequence[str],
    *,
    email: str | None = None,
    per_host: int = 4,
    is_active: bool = True,
) -> StoredBatch:
    """Store a batch; without `is_active` its members are still invisible."""
    submission = BatchSubmission(
        entries=read_lines("\n".join(lines)), email=email, task_id=None, networks=("client",)
    )
    parts = submission.parts(store.now(), per_host)
    made = StoredBatch(parts.batch, parts.group, list(parts.members()), parts.lanes)
    store.insert_all([*made.members, *made.lanes, made.task])
    if is_active:
        store.members.activate(made.group)
    return made
