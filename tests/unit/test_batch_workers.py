"""The threads of a process that take lanes."""

import threading
from collections.abc import Iterator

import dramatiq
import pytest
from dramatiq import Broker, Middleware
from dramatiq.brokers.stub import StubBroker
from dramatiq.worker import WorkerThread

from devtools.waiting import wait_for
from tasks.step import StepKind
from worker import batch_workers
from worker.batch_workers import LaneWorker


class Lanes(Middleware):
    """Runs lanes that end when a test says so."""

    def __init__(self) -> None:
        self.broker = StubBroker(middleware=[self])
        self.worker = LaneWorker(self.broker)
        self.worker.worker_threads = 1
        self.running: dict[str, threading.Thread] = {}
        self._may_end: dict[str, threading.Event] = {}
        actor = dramatiq.actor(
            broker=self.broker, queue_name=StepKind.RUN_LANE.value, actor_name="lane"
        )(self._run)
        for name in "abcd":
            self._may_end[name] = threading.Event()
            actor.send(name)

    def before_worker_thread_shutdown(self, _broker: Broker, thread: WorkerThread) -> None:
        self.worker.forget(thread)

    def _run(self, name: str) -> None:
        self.running[name] = threading.current_thread()
        self._may_end[name].wait()
        del self.running[name]

    def wait_until_running(self, names: str) -> None:
        wait_for(lambda: "".join(sorted(self.running)) == names)

    def relieve(self, name: str) -> None:
        self.worker.relieve(self.running[name])

    def end(self, names: str) -> None:
        for name in names:
            self._may_end[name].set()

    def wait_for_threads(self, count: int) -> None:
        wait_for(lambda: len(self.worker.workers) == count)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes()
    made.worker.start()
    made.wait_until_running("a")
    yield made
    made.end("abcd")
    made.worker.stop(timeout=10_000)


def test_thread_that_is_relieved_ends_after_its_lane(lanes: Lanes) -> None:
    relieved = lanes.running["a"]
    lanes.relieve("a")
    lanes.wait_until_running("ab")
    lanes.end("a")
    wait_for(lambda: not relieved.is_alive())
    lanes.wait_until_running("b")
    lanes.wait_for_threads(1)
    lanes.end("b")
    lanes.wait_until_running("c")


def test_thread_is_relieved_once(lanes: Lanes) -> None:
    lanes.relieve("a")
    lanes.relieve("a")
    lanes.wait_until_running("ab")
    assert len(lanes.worker.workers) == 2


def test_limited_number_of_threads_are_relieved_at_a_time(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_workers, "LONG_DOWNLOADS", 1)
    lanes.relieve("a")
    lanes.wait_until_running("ab")
    lanes.relieve("b")
    assert len(lanes.worker.workers) == 2
    lanes.end("a")
    lanes.wait_for_threads(1)
    lanes.relieve("b")
    lanes.wait_until_running("bc")


def test_thread_continues_if_the_machine_allows_no_other(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(WorkerThread, "start", refuse)
        lanes.relieve("a")
    lanes.end("a")
    lanes.wait_until_running("b")


def test_thread_of_another_worker_is_not_relieved(lanes: Lanes) -> None:
    other = dramatiq.Worker(lanes.broker, queues={"others"}, worker_threads=1)
    other.start()
    (thread,) = other.workers
    lanes.worker.relieve(thread)
    assert list(lanes.worker.workers) == [lanes.running["a"]]
    other.stop(timeout=10_000)
