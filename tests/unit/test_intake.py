import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pytest

import service.intake
from service.admission import Admission, Submitter
from service.errors import RefusedError
from service.intake import Intake
from settings import Settings
from tasks.errors import DuplicateTaskError, StoreUnavailableError
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task

SETTINGS = Settings(submits_per_minute=0)


class WatchedStore(SQLiteStore):
    """Notes the sizes of its writes, and may be out of reach."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sizes: list[int] = []
        self.is_down = False
        self.counts = 0

    def count_hits(self, hits: Mapping[str, int], until: datetime) -> dict[str, int]:
        self.counts += 1
        return super().count_hits(hits, until)

    def insert_all(self, tasks: Sequence[Task]) -> set[str]:
        if self.is_down:
            raise StoreUnavailableError("away")
        self.sizes.append(len(tasks))
        return super().insert_all(tasks)


def make(now: datetime) -> Task:
    return Task.new("http://example.com/", now)


def run(folder: Path, scene: object, settings: Settings = SETTINGS) -> WatchedStore:
    """Let a scene play with a new intake; its store afterwards."""
    store = WatchedStore(folder / "tasks.sqlite3")

    async def play() -> None:
        intake = Intake(store, Admission(settings, store))
        try:
            await scene(intake, store)  # type: ignore[operator]
        finally:
            intake.close()

    asyncio.run(play())
    store.close()
    return store


def test_what_has_gathered_goes_in_in_one_write(tmp_path: Path) -> None:
    async def scene(intake: Intake, store: WatchedStore) -> None:
        made = await asyncio.gather(
            *(intake.insert(make, Submitter(("client",))) for _ in range(50))
        )
        assert all(store.get(task.id) == task for task in made)

    assert len(run(tmp_path, scene).sizes) < 10


def test_a_write_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.intake, "BATCH", 3)

    async def scene(intake: Intake, _: WatchedStore) -> None:
        await asyncio.gather(*(intake.insert(make, Submitter(("client",))) for _ in range(20)))

    store = run(tmp_path, scene)
    assert max(store.sizes) == 3
    assert sum(store.sizes) == 20


def test_each_gets_its_own_verdict(tmp_path: Path) -> None:
    async def scene(intake: Intake, store: WatchedStore) -> None:
        twin = make(store.now())
        store.insert(twin)
        outcomes = await asyncio.gather(
            intake.insert(make, Submitter(("one",))),
            intake.insert(lambda _: twin, Submitter(("two",))),
            intake.insert(make, Submitter(("one",))),
            intake.insert(make, Submitter(("three",))),
            return_exceptions=True,
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [Task, DuplicateTaskError, RefusedError, Task]

    run(tmp_path, scene, Settings(submits_per_minute=1))


def test_one_that_fails_fails_alone(tmp_path: Path) -> None:
    def break_down(_: datetime) -> Task:
        raise ZeroDivisionError

    async def scene(intake: Intake, _: WatchedStore) -> None:
        outcomes = await asyncio.gather(
            intake.insert(make, Submitter(("client",))),
            intake.insert(break_down, Submitter(("client",))),
            intake.insert(make, Submitter(("client",))),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Task, ZeroDivisionError, Task]

    run(tmp_path, scene)


def test_an_outage_is_told_and_survived(tmp_path: Path) -> None:
    async def scene(intake: Intake, store: WatchedStore) -> None:
        store.is_down = True
        with pytest.raises(StoreUnavailableError):
            await intake.insert(make, Submitter(("client",)))
        store.is_down = False
        await intake.insert(make, Submitter(("client",)))

    run(tmp_path, scene)


def test_one_who_no_longer_waits_holds_nobody_up(tmp_path: Path) -> None:
    async def scene(intake: Intake, _: WatchedStore) -> None:
        waiting = [
            asyncio.ensure_future(intake.insert(make, Submitter(("client",)))) for _ in range(9)
        ]
        await asyncio.sleep(0)  # all are on their way
        waiting[0].cancel()
        waiting[8].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes[1:8]] == [Task] * 7

    run(tmp_path, scene)


def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    async def scene(intake: Intake, _store: WatchedStore) -> None:
        for _number in range(20):
            asyncio.ensure_future(intake.insert(make, Submitter(("client",))))  # noqa: RUF006
        await asyncio.sleep(0)

    assert sum(run(tmp_path, scene).sizes) == 20


def test_refused_submissions_count_for_their_client(tmp_path: Path) -> None:
    async def scene(intake: Intake, _store: WatchedStore) -> None:
        await intake.count_refusal(("one",))
        await intake.insert(make, Submitter(("one",)))
        with pytest.raises(RefusedError):
            await intake.count_refusal(("one",))
        with pytest.raises(RefusedError):
            await intake.insert(make, Submitter(("one",)))
        await intake.insert(make, Submitter(("two",)))

    store = run(tmp_path, scene, Settings(submits_per_minute=2))
    assert sum(store.sizes) == 2


def test_refused_submissions_take_no_room(tmp_path: Path) -> None:
    async def scene(intake: Intake, _store: WatchedStore) -> None:
        for _ in range(3):
            await intake.count_refusal(("one",))
        await intake.insert(make, Submitter(("one",)))
        await intake.count_refusal(("one",))

    run(tmp_path, scene, Settings(submits_per_minute=0, max_unfinished=1))


def test_refused_submissions_are_counted_together(tmp_path: Path) -> None:
    async def scene(intake: Intake, _store: WatchedStore) -> None:
        await asyncio.gather(*(intake.count_refusal(("one",)) for _ in range(50)))

    store = run(tmp_path, scene, Settings(submits_per_minute=100))
    assert store.counts < 10
    assert store.sizes == []
