"""Store calls that outlast an outage of the store."""

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from tasks.batch import Lane
from tasks.errors import NewerTaskError, StoreUnavailableError
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.task import Task

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0  # shorter than a sweeper's grace after an outage

Result = TypeVar("Result")


def until_available(call: Callable[[], Result], stopping: threading.Event) -> Result:
    """Call until the store is there, with growing pauses.

    Raises StoreUnavailableError only when `stopping` is set.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except StoreUnavailableError:
            if stopping.wait(pause):
                raise
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _write_until_available(
    write: Callable[[], Result], recognise: Callable[[Result], Result], stopping: threading.Event
) -> Result:
    """Write through an outage. After the first try, `recognise` looks for a write of ours.

    It gets the result of the last try, which cannot know that an earlier one was written.
    """
    is_first = True

    def try_to_write() -> Result:
        nonlocal is_first
        was_first, is_first = is_first, False
        written = write()
        return written if was_first else recognise(written)

    return until_available(try_to_write, stopping)


def save_until_available(store: TaskStore, task: Task, stopping: threading.Event) -> Task | None:
    """`store.save`, through an outage: a write whose answer got lost is found to be ours."""

    def recognise(saved: Task | None) -> Task | None:
        return saved or find_saved(store, task)

    return _write_until_available(lambda: store.save(task), recognise, stopping)


def save_all_until_available(
    store: TaskStore, tasks: Sequence[Task], stopping: threading.Event
) -> list[Task | None]:
    """`store.members.save_all`, through an outage, as in `save_until_available`."""

    def recognise(saved: list[Task | None]) -> list[Task | None]:
        return [each or find_saved(store, task) for each, task in zip(saved, tasks, strict=True)]

    return _write_until_available(lambda: store.members.save_all(tasks), recognise, stopping)


def claim_until_available(
    store: TaskStore, task_id: str, kind: StepKind, lease: timedelta, stopping: threading.Event
) -> Task | None:
    """`store.claim`, through an outage: a claim whose answer got lost is found to be ours."""
    token = uuid.uuid4().hex

    def recognise(claimed: Task | None) -> Task | None:
        if claimed is not None:
            return claimed
        current = _get(store, task_id)
        return current if current and current.claimed_step and current.claim == token else None

    return _write_until_available(
        lambda: store.claim(task_id, kind, store.now(), lease, token), recognise, stopping
    )


def claim_members_until_available(
    store: TaskStore, lane: Lane, most: int, lease: timedelta, stopping: threading.Event
) -> list[Task]:
    """`store.members.claim`, through an outage: a claim whose answer got lost is found to be ours.

    Otherwise its members would wait for the end of the lease, and each would lose an attempt.
    """
    token = uuid.uuid4().hex
    is_first = True

    def claim() -> list[Task]:
        nonlocal is_first
        was_first, is_first = is_first, False
        claimed = [] if was_first else store.members.claimed(lane, token)
        return claimed or store.members.claim(lane, most, now=store.now(), lease=lease, token=token)

    return until_available(claim, stopping)


def find_saved(store: TaskStore, task: Task) -> Task | None:
    """What `store.save(task)` would have returned, had its answer not got lost."""
    current = _get(store, task.id)
    saved = replace(task, version=task.version + 1)
    if current is None:
        return None
    # What a sweeper moves between two versions may differ.
    as_saved = replace(current, wake_at=saved.wake_at, dispatched_at=saved.dispatched_at)
    return saved if as_saved == saved else None


def _get(store: TaskStore, task_id: str) -> Task | None:
    """`store.get`, but None if a newer version has written the task."""
    try:
        return store.get(task_id)
    except NewerTaskError:
        return None
