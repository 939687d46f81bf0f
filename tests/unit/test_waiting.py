"""Preferences as RFC 7240 has them, and the loop that asks for all who wait."""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from devtools.waiting import wait_for
from service.waiting import MAX_HEADER, MOST_WAITERS, Waiters, preferred_wait
from tasks.errors import StoreUnavailableError
from tasks.task import Task
from tests.examples import make_task


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("WAIT=5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=5", 5),
        ('x="a, wait=1", wait=5', 5),
        (r'x="\", wait=1", wait=5', 5),
        ("wait = 5 ; foo=bar", 5),
        ("handling=lenient,wait=0", 0),
        ("wait=3, wait=5", 3),
        ("wait=60", 60),
        ("wait=61", 60),
        ("wait=999999999", 60),
        ("", 0),
        ("wait", 0),
        ("wait=", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=٣", 0),
        ("wait=soon, wait=5", 0),
        ("wait=9999999999", 0),
        ("waits=5", 0),
        ("x;wait=5", 0),
        (f"{'x, ' * MAX_HEADER}wait=5", 0),
        ('"' * 16_000, 0),
        (r"\"" * 8_000, 0),
    ],
)
def test_the_preference_of_a_client(header: str, seconds: int) -> None:
    assert preferred_wait(header) == seconds


@dataclass
class Store:
    """Knows which tasks have ended, and what it was asked."""

    ended_tasks: dict[str, Task] = field(default_factory=dict)
    questions: list[list[str]] = field(default_factory=list)
    is_down: bool = False

    def ended(self, ids: Collection[str]) -> list[Task]:
        self.questions.append(list(ids))
        if self.is_down:
            raise StoreUnavailableError("down")
        return [task for each, task in self.ended_tasks.items() if each in ids]

    async def is_asked(self, times: int) -> None:
        await asyncio.to_thread(wait_for, lambda: len(self.questions) >= times)

    def end(self, task_id: str) -> Task:
        self.ended_tasks[task_id] = replace(make_task(), id=task_id)
        return self.ended_tasks[task_id]


def run(scene: object) -> Store:
    """Let a scene play with new waiters; their store afterwards."""
    store = Store()

    async def play() -> None:
        with ThreadPoolExecutor(1) as threads:
            await scene(Waiters(store.ended, threads), store)  # type: ignore[operator]

    asyncio.run(play())
    return store


def test_one_question_is_for_all_who_wait() -> None:
    async def scene(waiters: Waiters, store: Store) -> None:
        waiting = [asyncio.create_task(waiters.wait(f"{number % 5}", 30)) for number in range(50)]
        await store.is_asked(1)
        tasks = [store.end(f"{number}") for number in range(5)]
        assert await asyncio.gather(*waiting) == tasks * 10

    store = run(scene)
    assert all(sorted(each) == list("01234") for each in store.questions)


def test_a_wait_ends_with_its_time() -> None:
    async def scene(waiters: Waiters, _: Store) -> None:
        assert await waiters.wait("a", 0.05) is None

    run(scene)


def test_an_outage_of_the_store_is_waited_through() -> None:
    async def scene(waiters: Waiters, store: Store) -> None:
        store.is_down = True
        waiting = asyncio.create_task(waiters.wait("a", 30))
        await store.is_asked(2)
        store.is_down = False
        task = store.end("a")
        assert await waiting is task

    run(scene)


def test_a_client_that_hangs_up_leaves_nothing_behind() -> None:
    async def scene(waiters: Waiters, store: Store) -> None:
        stayed = asyncio.create_task(waiters.wait("a", 30))
        left = [asyncio.create_task(waiters.wait("b", 30)) for _ in range(MOST_WAITERS - 1)]
        await store.is_asked(1)
        assert waiters.is_full
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        assert not waiters.is_full
        await store.is_asked(len(store.questions) + 2)  # one may have been under way
        assert store.questions[-1] == ["a"]
        store.end("a")
        await stayed

    run(scene)


def test_a_stop_ends_every_wait() -> None:
    async def scene(waiters: Waiters, store: Store) -> None:
        waiting = asyncio.create_task(waiters.wait("a", 30))
        await store.is_asked(1)
        waiters.close()
        assert await waiting is None
        assert waiters.is_full

    run(scene)


def test_the_store_is_not_asked_once_no_request_waits() -> None:
    async def scene(waiters: Waiters, store: Store) -> None:
        for _ in range(3):
            waiting = asyncio.create_task(waiters.wait("a", 30))
            await store.is_asked(len(store.questions) + 1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert await waiters.wait("b", 0.5) is None  # the loop goes on, or starts again

    store = run(scene)
    assert [] not in store.questions
    assert store.questions[-1] == ["b"]
