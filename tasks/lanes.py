"""The lanes of a batch."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.batch import NAMESPACE, Lane
from tasks.task import Task

MOST_LANES = 1000  # of a host with no other limit: more than the threads of most deployments


def new_lanes(
    batch: Task,
    members: Mapping[str, int],
    per_host: int,
    now: datetime,
    generation: int | None = None,
    **fields: Any,
) -> list[Task]:
    """Return lanes for the hosts of a batch, whose numbers of members are given.

    A host has at most `per_host` lanes, 0 for no limit, and not more than members. The same lanes
    have the same ids again. A `generation` keeps them from having those of earlier lanes. `fields`
    are those of a Task.
    """
    assert batch.batch is not None
    group = batch.batch.group
    suffix = "" if generation is None else f" {generation}"
    return [
        Task.new(
            "",
            now,
            task_id=str(uuid.uuid5(NAMESPACE, f"{group} {host} {number}{suffix}")),
            lane=Lane(group=group, host=host, batch_id=batch.id),
            **fields,
        )
        for host, count in members.items()
        for number in range(min(count, per_host or MOST_LANES))
    ]
