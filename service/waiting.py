"""`Prefer: wait=N` (RFC 7240 § 4.3): answers that wait for the end of a task."""

import asyncio
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import Executor

from sanic import Request
from sanic.response import BaseHTTPResponse

from service.connections import BoundedProtocol
from tasks.errors import StoreUnavailableError
from tasks.task import Task

LONGEST_SECONDS = 60
MOST_WAITERS = 1000
# The store is asked for all who wait at once: soon for the first one, and then ever less often.
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.2
MAX_HEADER = 1000  # characters, of which the search for preferences takes quadratic time

_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')

_log = logging.getLogger(__name__)


def preferred_wait(header: str) -> int:
    """Return for how many seconds a client prefers to wait, at most a minute.

    It is 0 if there is no such preference, or none that can be read. The first one counts.
    """
    for preference in _PREFERENCE.findall(header[:MAX_HEADER]):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            is_number = re.fullmatch("[0-9]{1,9}", seconds)
            return min(int(seconds), LONGEST_SECONDS) if is_number else 0
    return 0


class Waiters:
    """The requests of one event loop that wait for tasks, for which one loop asks the store."""

    def __init__(self, ended: Callable[[Collection[str]], list[Task]], threads: Executor) -> None:
        """`ended` returns those of the tasks with these ids that have ended."""
        self._ended = ended
        self._threads = threads
        self._waiting: dict[str, set[asyncio.Future[Task | None]]] = defaultdict(set)
        self._asking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        return self._is_closed or sum(map(len, self._waiting.values())) >= MOST_WAITERS

    async def wait(self, task_id: str, seconds: float) -> Task | None:
        """Return the task once it has ended, or None after that time."""
        ended: asyncio.Future[Task | None] = asyncio.get_running_loop().create_future()
        self._waiting[task_id].add(ended)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            return await asyncio.wait_for(ended, seconds)
        except TimeoutError:
            return None
        finally:
            self._leave(task_id, ended)

    def close(self) -> None:
        """Let no request wait any longer."""
        self._is_closed = True
        for futures in self._waiting.values():
            for future in futures:
                _settle(future, None)

    def _leave(self, task_id: str, ended: asyncio.Future[Task | None]) -> None:
        futures = self._waiting[task_id]
        futures.discard(ended)
        if not futures:
            del self._waiting[task_id]

    async def _ask(self) -> None:
        """Ask for all tasks that are waited for, until there are none."""
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        await asyncio.sleep(pause)
        while ids := list(self._waiting):
            try:
                ended = await loop.run_in_executor(self._threads, self._ended, ids)
            except StoreUnavailableError:
                ended = []  # the store has logged it
            except Exception:  # noqa: BLE001  the edge: others still wait
                _log.exception("it is not known which tasks have ended")
                ended = []
            for task in ended:
                for future in self._waiting.get(task.id, ()):
                    _settle(future, task)
            pause = min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
        self._asking = None


def _settle(future: asyncio.Future[Task | None], task: Task | None) -> None:
    if not future.done():
        future.set_result(task)


def begin_wait(request: Request) -> int:
    """Return for how many seconds a request may wait, 0 if it may not, and note it for the answer.

    The note becomes the header `Preference-Applied`.
    """
    seconds = preferred_wait(",".join(request.headers.getall("prefer", [])))
    waiters: Waiters = request.app.ctx.waiters
    request.ctx.applied_wait = 0 if seconds and waiters.is_full else seconds
    return request.ctx.applied_wait  # type: ignore[no-any-return]


async def wait_for_end(request: Request, task_id: str, seconds: int) -> Task | None:
    """Return a task once it has ended, or None after that time.

    The deadline of the answer is put off, as it is not the client that is slow. Nor is it the
    service: the time does not count as that of the request.
    """
    protocol = request.transport.get_protocol()
    assert isinstance(protocol, BoundedProtocol)
    protocol.put_off_deadline(seconds)
    waiters: Waiters = request.app.ctx.waiters
    began = time.perf_counter()
    try:
        return await waiters.wait(task_id, seconds)
    finally:
        request.ctx.began += time.perf_counter() - began


async def add_headers(request: Request, response: BaseHTTPResponse) -> None:
    """Say that a preference was followed."""
    if seconds := getattr(request.ctx, "applied_wait", 0):
        response.headers["Preference-Applied"] = f"wait={seconds}"
