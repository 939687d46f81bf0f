"""Stand-ins for what a test does not want in full."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from dramatiq import Message
from dramatiq.brokers.stub import StubBroker

from tasks.errors import StoreUnavailableError
from tasks.step import StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task


class FlakyStore(SQLiteStore):
    """A store that a test takes out of reach.

    `failures` calls of get, save and claim fail before they do anything; then `lost_answers` saves
    and claims fail after they have written. `before_failure` is called at each failure.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failures = 0
        self.lost_answers = 0
        self.saves = 0
        self.before_failure: Callable[[], object] = lambda: None

    def get(self, task_id: str) -> Task | None:
        self._maybe_fail()
        return super().get(task_id)

    def save(self, task: Task) -> Task | None:
        self.saves += 1
        self._maybe_fail()
        saved = super().save(task)
        self._maybe_lose_the_answer()
        return saved

    def claim(
        self, task_id: str, step: StepKind, now: datetime, lease: timedelta, token: str
    ) -> Task | None:
        self._maybe_fail()
        claimed = SQLiteStore.claim(self, task_id, step, now, lease, token)
        self._maybe_lose_the_answer()
        return claimed

    def _maybe_lose_the_answer(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            self._fail()

    def _maybe_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            self._fail()

    def _fail(self) -> None:
        before, self.before_failure = self.before_failure, lambda: None
        before()
        raise StoreUnavailableError("out of reach")


class RecordingBroker(StubBroker):
    """A broker that keeps what it is given; while it `is_down`, it raises as pika does.

    It goes down after `lasts` messages.
    """

    def __init__(self) -> None:
        super().__init__()
        for step in StepKind:
            self.declare_queue(step.value)
        self.is_down = False
        self.lasts: int | None = None
        self.refused = 0
        self.messages: list[tuple[str, str]] = []
        self._guard = threading.Lock()

    def enqueue(self, message: Message[None], *, delay: int | None = None) -> Message[None]:
        if self.is_down:
            self.refused += 1
            raise RuntimeError("stack timeout")  # no AMQPError
        enqueued = super().enqueue(message, delay=delay)
        with self._guard:
            self.messages.append((message.queue_name, message.args[0]))
            self.is_down = self.lasts == len(self.messages)
        return enqueued
