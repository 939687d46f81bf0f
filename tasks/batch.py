"""Batches: many URLs that were submitted together.

A batch is a task without a URL, whose step is to look how many of its members are unfinished. Its
members are tasks with a URL and a `Member`. They have no messages of their own: lanes download
them, one after the other. A lane is a task as well, for one host of one batch, and the number of
lanes is the limit on concurrent downloads from that host.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

NAMESPACE = uuid.UUID("6d2a1c32-0c61-4a29-a8f2-2f7a3b0b5a57")  # ours, for ids derived from others
# The `wake_at` of a member that waits for its lane.
PARKED = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The place of a task in a batch.

    `group` is what the members of a batch and its lanes have in common. `position` is that of the
    line, and `rank` that of the URL among all URLs in the order of their bytes, both from 0.
    """

    group: str
    host: str
    position: int
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What a lane downloads: the members of a group with one host, for the batch of that id."""

    group: str
    host: str
    batch_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many members of a batch are done, and how many have failed.

    `bytes_done` is the size of the files that are done. `mismatched` counts those of them that
    differ from what was expected.
    """

    done: int = 0
    failed: int = 0
    mismatched: int = 0
    bytes_done: int = 0

    @property
    def ended(self) -> int:
        return self.done + self.failed


NOTHING_ENDED = Tally()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The members of a batch: how many there are, and the last tally of them."""

    group: str  # derived from everything that was submitted
    total: int
    is_expecting: bool  # whether any digest or size was expected
    tally: Tally = NOTHING_ENDED
