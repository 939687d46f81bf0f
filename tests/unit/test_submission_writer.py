import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

import service.submission_writer
from service.admission import Admission
from service.errors import RefusedError
from service.submission import CountedOnly, Submission
from service.submission_writer import SubmissionWriter, Submitted
from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.task import Task
from tests.examples import insert
from tests.fakes import ScriptedStore

SETTINGS = Settings(submits_per_minute=0)


URL = "http://example.com/"


def submission(client: str, task_id: str | None = None) -> Submission:
    return Submission(url=URL, task_id=task_id, networks=(client,))


def sizes(store: ScriptedStore) -> list[int]:
    """Return how many tasks each write had."""
    return [len(tasks) for (tasks,) in store.calls("insert_all")]


class BrokenSubmission(Submission):
    """Cannot become a task."""

    __slots__ = ()

    def as_task(self, now: datetime) -> Task:
        raise ZeroDivisionError(now)


def run(folder: Path, scene: object, settings: Settings = SETTINGS) -> ScriptedStore:
    """Let a scene play with a new writer; its store afterwards."""
    store = ScriptedStore(folder / "tasks.sqlite3")

    async def play() -> None:
        with ThreadPoolExecutor(1) as threads:
            writer = SubmissionWriter(store, Admission(settings, store), threads)
            try:
                await scene(writer, store)  # type: ignore[operator]
            finally:
                writer.close()

    asyncio.run(play())
    store.close()
    return store


def test_gathered_submissions_share_one_write(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, store: ScriptedStore) -> None:
        made = await asyncio.gather(*(writer.submit(submission("client")) for _ in range(50)))
        assert all(store.get(each.task.id) == each.task for each in made)

    assert len(sizes(run(tmp_path, scene))) < 10


def test_a_write_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.submission_writer, "BATCH", 3)

    async def scene(writer: SubmissionWriter, _: ScriptedStore) -> None:
        await asyncio.gather(*(writer.submit(submission("client")) for _ in range(20)))

    store = run(tmp_path, scene)
    assert max(sizes(store)) == 3
    assert sum(sizes(store)) == 20


def test_each_submission_gets_its_own_outcome(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, store: ScriptedStore) -> None:
        twin = submission("earlier").as_task(store.now())
        insert(store, twin)
        outcomes = await asyncio.gather(
            writer.submit(submission("one")),
            writer.submit(submission("two", twin.id)),
            writer.submit(submission("one")),
            writer.submit(submission("three")),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [Submitted, Submitted, RefusedError, Submitted]
        assert outcomes[1] == Submitted(twin, is_new=False)

    run(tmp_path, scene, Settings(submits_per_minute=1))


def test_invalid_submission_fails_alone(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _: ScriptedStore) -> None:
        outcomes = await asyncio.gather(
            writer.submit(submission("client")),
            writer.submit(BrokenSubmission(url=URL, networks=("client",))),
            writer.submit(submission("client")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Submitted, ZeroDivisionError, Submitted]

    run(tmp_path, scene)


def test_writer_survives_an_outage(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, store: ScriptedStore) -> None:
        store.fail("insert_all", times=math.inf)
        with pytest.raises(StoreUnavailableError):
            await writer.submit(submission("client"))
        store.recover()
        await writer.submit(submission("client"))

    run(tmp_path, scene)


def test_cancelled_client_does_not_block_others(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _: ScriptedStore) -> None:
        waiting = [asyncio.ensure_future(writer.submit(submission("client"))) for _ in range(9)]
        await asyncio.wait(waiting, timeout=0)  # all are on their way
        waiting[0].cancel()
        waiting[8].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes[1:8]] == [Submitted] * 7

    run(tmp_path, scene)


def test_waiting_submissions_are_written_at_the_end(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _store: ScriptedStore) -> None:
        waiting = [asyncio.ensure_future(writer.submit(submission("client"))) for _ in range(20)]
        await asyncio.wait(waiting, timeout=0)

    assert sum(sizes(run(tmp_path, scene))) == 20


def test_refused_submissions_count_for_their_client(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _store: ScriptedStore) -> None:
        await writer.count(CountedOnly(("one",)))
        await writer.submit(submission("one"))
        with pytest.raises(RefusedError):
            await writer.count(CountedOnly(("one",)))
        with pytest.raises(RefusedError):
            await writer.submit(submission("one"))
        await writer.submit(submission("two"))

    store = run(tmp_path, scene, Settings(submits_per_minute=2))
    assert sum(sizes(store)) == 2


def test_refused_submissions_take_no_room(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _store: ScriptedStore) -> None:
        for _ in range(3):
            await writer.count(CountedOnly(("one",)))
        await writer.submit(submission("one"))
        await writer.count(CountedOnly(("one",)))

    run(tmp_path, scene, Settings(submits_per_minute=0, max_unfinished=1))


def test_refused_submissions_are_counted_together(tmp_path: Path) -> None:
    async def scene(writer: SubmissionWriter, _store: ScriptedStore) -> None:
        await asyncio.gather(*(writer.count(CountedOnly(("one",))) for _ in range(50)))

    store = run(tmp_path, scene, Settings(submits_per_minute=100))
    assert len(store.calls("count_hits")) < 10
    assert sizes(store) == []
