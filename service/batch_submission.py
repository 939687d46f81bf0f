"""A batch on its way into the store: its members first, invisible, and then the batch itself."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from service.lines import Entry
from tasks.batch import Batch, Lane, Member
from tasks.task import Task

_NAMESPACE = uuid.UUID("6d2a1c32-0c61-4a29-a8f2-2f7a3b0b5a57")  # ours, for ids of members
# Members that no batch has come for are removed after this time.
LEFTOVER_TIME = timedelta(days=1)
MOST_LANES = 64  # of a host whose downloads are not limited


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSubmission:
    """A valid submission of a list. `networks` are those of the client, the narrowest first."""

    entries: Sequence[Entry]
    email: str | None
    task_id: str | None  # None: a new one
    networks: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many tasks it makes, without the batch and its lanes."""
        return len(self.entries)

    @property
    def fingerprint(self) -> str:
        """A digest of everything that was submitted, by which a repetition is recognised."""
        digest = hashlib.sha256(repr(self.email).encode())
        for entry in self.entries:
            expected = sorted(entry.expected.hexdigests.items()), entry.expected.size
            digest.update(f"\n{entry.url} {expected}".encode())
        return digest.hexdigest()

    def as_batch(self, now: datetime) -> Task:
        """Return the task of the batch. The same submission has the same group again."""
        batch_id = self.task_id or str(uuid.uuid4())
        fingerprint = self.fingerprint
        return Task.new(
            "",
            now,
            task_id=batch_id,
            email=self.email,
            batch=Batch(
                group=str(uuid.uuid5(_NAMESPACE, f"{batch_id} {fingerprint}")),
                fingerprint=fingerprint,
                total=len(self.entries),
                is_expecting=any(entry.expected.is_something for entry in self.entries),
            ),
        )

    def members(self, batch: Task) -> Iterator[Task]:
        """Return the members, which are not visible before they are activated."""
        assert batch.batch is not None
        group = batch.batch.group
        by_bytes = sorted(range(len(self.entries)), key=lambda n: self.entries[n].url.encode())
        rank_of = {position: rank for rank, position in enumerate(by_bytes)}
        for position, entry in enumerate(self.entries):
            member = Member(
                group=group,
                host=_host_of(entry.url),
                position=position,
                rank=rank_of[position],
            )
            task_id = str(uuid.uuid5(_NAMESPACE, f"{group} {position}"))
            yield _hidden(
                Task.new(
                    entry.url,
                    batch.submitted_at,
                    task_id=task_id,
                    expected=entry.expected,
                    member=member,
                )
            )

    def lanes(self, batch: Task, per_host: int) -> Iterator[Task]:
        """Return the lanes, at most `per_host` for each host; 0 for no limit."""
        assert batch.batch is not None
        group = batch.batch.group
        for host, count in Counter(_host_of(entry.url) for entry in self.entries).items():
            for number in range(min(count, per_host or MOST_LANES)):
                yield _hidden(
                    Task.new(
                        "",
                        batch.submitted_at,
                        task_id=str(uuid.uuid5(_NAMESPACE, f"{group} {host} {number}")),
                        lane=Lane(group=group, host=host, batch_id=batch.id),
                    )
                )


def _hidden(task: Task) -> Task:
    return replace(task, wake_at=None, expires_at=task.submitted_at + LEFTOVER_TIME)


def _host_of(url: str) -> str:
    """Return what the limit of downloads counts by: the host, whatever the port."""
    return (urlsplit(url).hostname or "").rstrip(".")
