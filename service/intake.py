"""New tasks on their way into the store: all that have gathered go in in one write."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from queue import SimpleQueue

from service.admission import Admission, Submitter
from tasks.errors import DuplicateTaskError, StoreUnavailableError
from tasks.stores.contract import TaskStore
from tasks.task import Task

BATCH = 500  # tasks in one write, at the most

# What makes the task (None: nothing is inserted), who submits it, and who waits for it.
_Entry = tuple[Callable[[datetime], Task] | None, Submitter, asyncio.Future[Task | None]]
_Outcome = Task | Exception | None

_log = logging.getLogger(__name__)


class Intake:
    """One thread that admits and writes, for the requests of one event loop.

    A durable write takes MongoDB or a disk milliseconds, however many tasks are in it.
    """

    def __init__(self, store: TaskStore, admission: Admission) -> None:
        self._store = store
        self._admission = admission
        self._entries: SimpleQueue[_Entry | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    async def insert(self, make: Callable[[datetime], Task], submitter: Submitter) -> Task:
        """The task that `make` makes of the store's time, once it is durable.

        Raises RefusedError, DuplicateTaskError and StoreUnavailableError.
        """
        task = await self._enter(make, submitter)
        assert task is not None
        return task

    async def count_refusal(self, networks: tuple[str, ...]) -> None:
        """Count a submission that broke a rule. Raises RefusedError and StoreUnavailableError."""
        await self._enter(None, Submitter(networks, is_refused=True))

    async def _enter(
        self, make: Callable[[datetime], Task] | None, submitter: Submitter
    ) -> Task | None:
        written: asyncio.Future[Task | None] = self._loop.create_future()
        self._entries.put((make, submitter, written))
        return await written

    def close(self) -> None:
        """Write what has gathered, and end."""
        self._entries.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            # Nobody waits any more for those that took too long.
            batch = [entry for entry in batch if not entry[2].cancelled()]
            waiting = [written for _, _, written in batch]
            self._loop.call_soon_threadsafe(_settle, waiting, self._try_to_insert(batch))

    def _try_to_insert(self, batch: list[_Entry]) -> list[_Outcome]:
        try:
            return self._insert(batch)
        except StoreUnavailableError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  the edge: the thread must go on
            if len(batch) > 1:  # so that one cannot spoil it for the others
                return [outcome for entry in batch for outcome in self._try_to_insert([entry])]
            _log.exception("a task was not inserted")
            return [error]

    def _gather(self) -> list[_Entry]:
        """What is waiting, and at least one; nothing to end."""
        batch: list[_Entry] = []
        while not batch or (len(batch) < BATCH and not self._entries.empty()):
            entry = self._entries.get()
            if entry is None:
                if batch:
                    self._entries.put(None)  # the end comes after these
                return batch
            batch.append(entry)
        return batch

    def _insert(self, batch: list[_Entry]) -> list[_Outcome]:
        verdicts = self._admission.admit([submitter for _, submitter, _ in batch])
        now = self._store.now()
        outcomes: list[_Outcome] = [
            verdict or (make and make(now))
            for (make, _, _), verdict in zip(batch, verdicts, strict=True)
        ]
        tasks = [each for each in outcomes if isinstance(each, Task)]
        taken = self._store.insert_all(tasks) if tasks else set()
        return [
            DuplicateTaskError(each.id) if isinstance(each, Task) and each.id in taken else each
            for each in outcomes
        ]


def _settle(waiting: list[asyncio.Future[Task | None]], outcomes: list[_Outcome]) -> None:
    for written, outcome in zip(waiting, outcomes, strict=True):
        if written.cancelled():
            continue
        if isinstance(outcome, Exception):
            written.set_exception(outcome)
        else:
            written.set_result(outcome)
