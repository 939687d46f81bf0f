"""Store calls that outlast an outage of the store."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tasks.errors import StoreUnavailableError
from tasks.store import TaskStore
from tasks.task import Task

LONGEST_PAUSE_SECONDS = 5.0

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def patiently(call: Callable[[], Result], stopping: threading.Event) -> Result:
    """Call until the store is there, with growing pauses.

    Raises StoreUnavailableError only when `stopping` is set.
    """
    pause = 0.1
    while True:
        try:
            return call()
        except StoreUnavailableError as error:
            if stopping.wait(pause):
                raise
            if pause >= LONGEST_PAUSE_SECONDS:
                _log.warning("still waiting for the store: %s", error)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def save_patiently(store: TaskStore, task: Task, stopping: threading.Event) -> Task | None:
    """`store.save`, through an outage: a write whose answer got lost is found to be ours."""
    is_first = True

    def save() -> Task | None:
        nonlocal is_first
        was_first, is_first = is_first, False
        saved = store.save(task)
        if saved is not None or was_first:
            return saved
        # Two workers' claims differ in nothing but the end of their leases.
        is_claim = task.next_step is None and not task.is_settled
        return find_saved(store, task, exactly=is_claim)

    return patiently(save, stopping)


def find_saved(store: TaskStore, task: Task, *, exactly: bool) -> Task | None:
    """What `store.save(task)` would have returned, had its answer not got lost.

    Unless `exactly`, the fields that the sweeper moves between two versions may differ.
    """
    current = store.get(task.id)
    saved = replace(task, version=task.version + 1)
    if current is not None and not exactly:
        current = replace(current, wake_at=saved.wake_at, dispatches=saved.dispatches)
    return saved if current == saved else None
