"""Group commit: submissions that arrive during one write are stored together by the next one."""

import asyncio
import logging
import threading
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from service.admission import Admission, Entry
from service.batch_submission import BatchSubmission
from service.errors import KeyReusedError, RefusedError
from service.submission import CountedOnly, Submission
from tasks.errors import DuplicateTaskError, StoreUnavailableError
from tasks.stores.contract import TaskStore
from tasks.task import Task

BATCH = 500  # the most tasks in one write

# The task is None for a submission that is only counted.
_Outcome = Task | Exception | None

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The task of a submission. It is not new if an earlier request had the same key."""

    task: Task
    is_new: bool

    @property
    def needs_message(self) -> bool:
        """Whether the message of the task may be missing, also that of an earlier request."""
        return self.is_new or (self.task.version == 1 and self.task.dispatched_at is None)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A submission in the queue, and the request that waits for it."""

    entry: Entry
    written: asyncio.Future[Task | None]


class SubmissionWriter:
    """One thread that admits and writes, for the requests of one event loop.

    A durable write takes MongoDB or a disk milliseconds, however many tasks are in it.
    """

    def __init__(self, store: TaskStore, admission: Admission, threads: Executor) -> None:
        """`threads` look up the tasks of earlier submissions."""
        self._store = store
        self._admission = admission
        self._threads = threads
        self._entries: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="submissions", daemon=True)
        self._thread.start()

    async def submit(self, submission: Submission) -> Submitted:
        """Return the task of the submission once it is durable.

        One that was accepted before gets its task again, despite the limits. Raises RefusedError,
        DuplicateTaskError, NewerTaskError and StoreUnavailableError.
        """
        try:
            task = await self._enter(submission)
        except (DuplicateTaskError, RefusedError):
            earlier = await self._find_earlier(submission)
            if earlier is None:
                raise
            return Submitted(earlier, is_new=False)
        assert task is not None
        return Submitted(task, is_new=True)

    async def count(self, entry: CountedOnly | BatchSubmission) -> None:
        """Count a submission that is written elsewhere, or not at all.

        Raises RefusedError and StoreUnavailableError.
        """
        await self._enter(entry)

    async def _find_earlier(self, submission: Submission) -> Task | None:
        """Return the task of an earlier request with the same Idempotency-Key, if there is one.

        Raises RefusedError if that request had other parameters.
        """
        if submission.task_id is None:
            return None
        get = partial(self._store.get, submission.task_id)
        task = await self._loop.run_in_executor(self._threads, get)
        if task is not None and not submission.is_for(task):
            raise KeyReusedError
        return task

    async def _enter(self, entry: Entry) -> Task | None:
        written: asyncio.Future[Task | None] = self._loop.create_future()
        self._entries.put(_Waiting(entry, written))
        return await written

    def close(self) -> None:
        """Write what is waiting, and end."""
        self._entries.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            # The requests of those that took too long have ended.
            batch = [each for each in batch if not each.written.cancelled()]
            waiting = [each.written for each in batch]
            self._loop.call_soon_threadsafe(_settle, waiting, self._try_to_insert(batch))

    def _try_to_insert(self, batch: list[_Waiting]) -> list[_Outcome]:
        try:
            return self._insert(batch)
        except StoreUnavailableError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  the edge: the thread must go on
            if len(batch) > 1:  # so that one cannot spoil it for the others
                return [outcome for each in batch for outcome in self._try_to_insert([each])]
            _log.exception("a task was not inserted")
            return [error]

    def _gather(self) -> list[_Waiting]:
        """Return what is waiting, at least one; nothing in the end."""
        batch: list[_Waiting] = []
        while not batch or (len(batch) < BATCH and not self._entries.empty()):
            waiting = self._entries.get()
            if waiting is None:
                if batch:
                    self._entries.put(None)  # the end comes after these
                return batch
            batch.append(waiting)
        return batch

    def _insert(self, batch: list[_Waiting]) -> list[_Outcome]:
        verdicts = self._admission.admit([each.entry for each in batch])
        now = self._store.now()
        outcomes: list[_Outcome] = [
            verdict or (each.entry.as_task(now) if isinstance(each.entry, Submission) else None)
            for each, verdict in zip(batch, verdicts, strict=True)
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
