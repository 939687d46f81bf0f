"""Stand-ins for what a test does not want in full."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from dramatiq import Message
from dramatiq.brokers.stub import StubBroker

from tasks.errors import StoreUnavailableError
from tasks.step import StepKind
from tasks.stores.sqlite import SQLiteStore

METHODS = (
    "claim",
    "count_hits",
    "count_stored",
    "count_unfinished",
    "get",
    "insert_all",
    "mark_dispatched",
    "now",
    "save",
    "take_due",
)
METHODS_OF_MEMBERS = {"save_all": "save_all", "claim": "claim_members"}  # the names that tests use


@dataclass
class Fault:
    """Calls of a store that are going to fail."""

    methods: tuple[str, ...]
    times: float
    error: Exception
    is_written: bool
    before: Callable[[], object]


class ScriptedStore(SQLiteStore):
    """A SQLite store whose calls a test records and makes fail, and whose time a test sets.

    Calls that the store makes of itself, and calls through the class, as in
    `SQLiteStore.save(store, task)`, are neither recorded nor do they fail.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.time: datetime | None = None
        self._calls: list[tuple[str, tuple[Any, ...]]] = []
        self._faults: list[Fault] = []
        self._guard = threading.Lock()
        self._thread = threading.local()
        for name in METHODS:
            setattr(self, name, partial(self._play, name, getattr(self, name)))
        for name, called in METHODS_OF_MEMBERS.items():
            method = partial(self._play, called, getattr(self.members, name))
            setattr(self.members, name, method)

    def now(self) -> datetime:
        return super().now() if self.time is None else self.time

    def advance(self, duration: timedelta) -> None:
        """Move the time that was set."""
        assert self.time is not None
        self.time += duration

    def fail(
        self,
        *methods: str,
        times: float = 1,
        error: Exception | None = None,
        is_written: bool = False,
        before: Callable[[], object] = lambda: None,
    ) -> Fault:
        """Let the next `times` calls of these methods fail; those on tasks if there is no name.

        With `is_written` the method does its work first and only the answer is lost. `before` is
        called before the first failure.
        """
        fault = Fault(
            methods or ("get", "save", "save_all", "claim"),
            times,
            error or StoreUnavailableError("out of reach"),
            is_written,
            before,
        )
        self._faults.append(fault)
        return fault

    def recover(self) -> None:
        """Let no further call fail."""
        self._faults.clear()

    def calls(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of a method."""
        return [arguments for name, arguments in self._calls if name == method]

    def _play(
        self, name: str, call: Callable[..., object], *arguments: object, **options: object
    ) -> object:
        if getattr(self._thread, "is_inside", False):
            return call(*arguments, **options)
        self._calls.append((name, arguments))
        self._maybe_fail(name, is_written=False)
        self._thread.is_inside = True
        try:
            answer = call(*arguments, **options)
        finally:
            self._thread.is_inside = False
        self._maybe_fail(name, is_written=True)
        return answer

    def _maybe_fail(self, name: str, *, is_written: bool) -> None:
        with self._guard:
            matching = (
                fault
                for fault in self._faults
                if fault.times and name in fault.methods and fault.is_written is is_written
            )
            fault = next(matching, None)
            if fault is None:
                return
            fault.times -= 1
        before, fault.before = fault.before, lambda: None
        before()
        raise fault.error


class FakeClock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class RecordingBroker(StubBroker):
    """A broker that keeps what it is given; while it `is_down`, it raises as pika does.

    It goes down after `lasts` messages.
    """

    def __init__(self) -> None:
        super().__init__()
        for kind in StepKind:
            self.declare_queue(kind.value)
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
