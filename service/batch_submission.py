"""A batch on its way into the store: its members first, invisible, and then the batch itself."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.lines import Entry
from tasks.batch import NAMESPACE, Batch, Member
from tasks.digests import Algorithm
from tasks.lanes import new_lanes
from tasks.task import Task
from tasks.url import host_of

# Members without a batch are removed after this time.
LEFTOVER_TIME = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmission:
    """A valid submission of a list. `networks` are those of the client, the narrowest first."""

    entries: Sequence[Entry]
    requested: tuple[Algorithm, ...] = ()
    email: str | None
    task_id: str | None  # None: a new one
    networks: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many tasks it makes, without the batch and its lanes."""
        return len(self.entries)

    def parts(self, now: datetime, per_host: int) -> "Parts":
        """Return the tasks to store, with at most `per_host` lanes for each host; 0 for no limit.

        The same submission with the same id has the same parts again. Takes time in proportion to
        the entries.
        """
        batch_id = self.task_id or str(uuid.uuid4())
        group = str(uuid.uuid5(NAMESPACE, f"{batch_id} {self._fingerprint()}"))
        is_expecting = any(entry.expected.is_something for entry in self.entries)
        batch = Batch(group=group, total=self.size, is_expecting=is_expecting)
        hosts = [host_of(entry.url) for entry in self.entries]
        task = Task.new("", now, task_id=batch_id, email=self.email, batch=batch, active_at=now)
        lanes = new_lanes(task, Counter(hosts), per_host, now, **_hidden(now))
        return Parts(task, group, self.entries, self.requested, hosts, lanes)

    def _fingerprint(self) -> str:
        """Return a digest of everything that was submitted, by which a repetition is recognised."""
        digest = hashlib.sha256(repr(self.email).encode())
        if self.requested:
            digest.update(f" {', '.join(self.requested)}".encode())
        for entry in self.entries:
            expected = sorted(entry.expected.hexdigests.items()), entry.expected.size
            digest.update(f"\n{entry.url} {expected}".encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Parts:
    """The tasks of a batch. Lanes and members are invisible before they are activated."""

    batch: Task
    group: str
    entries: Sequence[Entry]
    requested: tuple[Algorithm, ...]
    hosts: Sequence[str]
    lanes: Sequence[Task]

    def members(self) -> Iterator[Task]:
        """Return the members, in the order of the entries."""
        by_bytes = sorted(range(len(self.entries)), key=lambda n: self.entries[n].url.encode())
        rank_of = {position: rank for rank, position in enumerate(by_bytes)}
        for position, (entry, host) in enumerate(zip(self.entries, self.hosts, strict=True)):
            rank = rank_of[position]
            yield Task.new(
                entry.url,
                self.batch.submitted_at,
                task_id=str(uuid.uuid5(NAMESPACE, f"{self.group} {position}")),
                expected=entry.expected,
                requested=self.requested,
                member=Member(group=self.group, host=host, position=position, rank=rank),
                **_hidden(self.batch.submitted_at),
            )


def _hidden(now: datetime) -> dict[str, Any]:
    """Return the fields by which a new task is invisible, and removed if it stays so."""
    return {"wake_at": None, "expires_at": now + LEFTOVER_TIME}
