"""A worker of one process, whole: its broker, its actors and what runs beside them."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Broker, Middleware
from dramatiq.worker import WorkerThread

from devtools.servers.origin import Origin
from devtools.servers.process import free_port
from devtools.servers.raw_origin import RawOrigin, redirect
from devtools.waiting import wait_for
from settings import Settings
from tasks.step import MailStatus, Status, StepKind
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from telemetry.heartbeat import Heartbeats
from tests.batches import store_batch
from tests.e2e.batches import CrowdedOrigin
from tests.examples import attempts_at, insert
from worker import batch_workers
from worker.batch_workers import BatchWorker, LaneWorker
from worker.leases import LEASES
from worker.mail.mailer import open_mailer
from worker.mail_worker import MailWorker, keep_to_downloads
from worker.publisher import DISPATCHER
from worker.runtime import build_worker
from worker.steps import run_lane
from worker.sweeper import SWEEPER


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "tasks.sqlite3")
    yield made
    made.close()


@pytest.fixture
def begin(store: SQLiteStore) -> Iterator[Callable[..., Callable[[], Task]]]:
    """Starts a worker and gives it one task; what it makes is the task as it is."""
    workers: list[dramatiq.Worker] = []

    def start(url: str, email: str | None = None, **settings: str) -> Callable[[], Task]:
        environ = {"ALLOW_NETWORKS": "127.0.0.0/8", **settings}
        runtime = build_worker(Settings.from_env(environ), store)
        workers.append(dramatiq.Worker(runtime.broker, worker_threads=2, worker_timeout=100))
        workers[-1].start()
        # Its first sweep makes all tasks due, as after a restart: that is not what is tested.
        wait_for(lambda: not runtime.companions.sweeper._has_to_wake_all)
        task = Task.new(url, store.now(), email=email)
        insert(store, task)
        runtime.dispatcher.dispatch([task])

        def current() -> Task:
            found = store.get(task.id)
            assert found is not None
            return found

        return current

    yield start
    for worker in workers:
        worker.stop(timeout=10_000)


def test_a_passing_failure_is_tried_again_after_its_pause(
    begin: Callable[..., Callable[[], Task]], store: SQLiteStore
) -> None:
    task = begin(f"http://127.0.0.1:{free_port()}/", RETRY_BASE="1h")

    wait_for(lambda: task().failure)
    wait_for(lambda: task().status is Status.QUEUED)

    before = task()
    assert before.wake_at is not None
    assert (before.wake_at - store.now()).total_seconds() > 3500


def test_after_its_pause_a_task_is_tried_again(begin: Callable[..., Callable[[], Task]]) -> None:
    task = begin(f"http://127.0.0.1:{free_port()}/", RETRY_BASE="1s", MAX_ATTEMPTS="2")

    wait_for(lambda: task().status is Status.FAILED)

    assert task().attempt == 2
    assert task().finished_at is not None
    assert (task().finished_at - task().submitted_at).total_seconds() >= 1  # type: ignore[operator]


def test_a_mail_that_does_not_get_out_waits_for_its_pause(
    begin: Callable[..., Callable[[], Task]],
    store: SQLiteStore,
    serve: Callable[[Mapping[str, bytes]], Origin],
) -> None:
    origin = serve({"/file": b"x"})
    nobody = f"smtp://127.0.0.1:{free_port()}"

    task = begin(f"{origin.base}/file", "user@example.com", SMTP_URL=nobody)

    wait_for(
        lambda: (
            attempts_at(task(), StepKind.SEND_EMAIL) == 1
            and task().mail_status is MailStatus.PENDING
        )
    )
    assert task().digest is not None
    waiting = task().wake_at
    assert waiting is not None
    assert (waiting - store.now()).total_seconds() > 20


def test_a_refused_url_sends_no_mail(
    begin: Callable[..., Callable[[], Task]], tmp_path: Path
) -> None:
    task = begin("http://10.1.2.3/file", "user@example.com", DATA_DIR=str(tmp_path / "data"))

    wait_for(lambda: task().status is Status.FAILED)

    assert task().is_settled
    assert task().mail_status is MailStatus.REFUSED
    assert not (tmp_path / "data" / "mail").exists()


def test_a_redirect_to_a_refused_address_sends_a_mail(
    begin: Callable[..., Callable[[], Task]], tmp_path: Path
) -> None:
    with RawOrigin([redirect("http://10.1.2.3/file")]) as origin:
        task = begin(origin.base, "user@example.com", DATA_DIR=str(tmp_path / "data"))
        wait_for(lambda: task().mail_status is MailStatus.SENT)

    assert task().status is Status.FAILED
    assert len(list((tmp_path / "data" / "mail").iterdir())) == 1


def test_a_domain_over_its_limit_waits(
    begin: Callable[..., Callable[[], Task]],
    store: SQLiteStore,
    serve: Callable[[Mapping[str, bytes]], Origin],
) -> None:
    origin = serve({"/file": b"x"})
    hour = timedelta(hours=1)
    until = store.now().replace(minute=0, second=0, microsecond=0) + hour
    store.count_hits({"mail domain example.com": 3}, until)
    store.count_hits({"mail domain example.com": 3}, until + hour)

    task = begin(f"{origin.base}/file", "new@example.com", MAILS_PER_HOUR_TO_DOMAIN="3")

    wait_for(lambda: task().mail_status is MailStatus.DELAYED)


def test_a_mail_that_would_wait_for_more_than_a_day_is_given_up(
    begin: Callable[..., Callable[[], Task]],
    store: SQLiteStore,
    serve: Callable[[Mapping[str, bytes]], Origin],
) -> None:
    origin = serve({"/file": b"x"})
    hour = timedelta(hours=1)
    this_hour_ends = store.now().replace(minute=0, second=0, microsecond=0) + hour
    for until in (this_hour_ends, this_hour_ends + hour):
        store.count_hits({"mail user@example.com": 25}, until)

    task = begin(f"{origin.base}/file", "user@example.com", MAILS_PER_HOUR="1")

    wait_for(lambda: task().mail_status is MailStatus.REFUSED)
    assert task().is_settled
    assert task().digest is not None


def test_a_process_runs_as_many_lanes_at_once_as_it_has_threads(
    begin: Callable[..., Callable[[], Task]],
    serve: Callable[[Mapping[str, bytes]], Origin],
    store: SQLiteStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_workers, "LONG_DOWNLOADS", 0)
    single = serve({"/file": b"x"})
    with CrowdedOrigin(2, 0.05) as origin:
        lines = [f"{origin.base}/{number}" for number in range(60)]
        stored = store_batch(store, lines, per_host=10)
        begin(f"{single.base}/file")
        wait_for(lambda: store.members.tally(stored.group).done == len(lines))
    assert origin.refused == 0


class EndedThreads(Middleware):
    """Counts the threads that have ended."""

    def __init__(self) -> None:
        self.count = 0

    def before_worker_thread_shutdown(self, _broker: Broker, _thread: WorkerThread) -> None:
        self.count += 1


def test_threads_that_are_relieved_end_and_the_worker_stays_healthy(
    store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lane, "TURN_SECONDS", 0.1)
    folder = tmp_path / "heartbeats"
    folder.mkdir()
    heartbeats = Heartbeats(folder, (SWEEPER, DISPATCHER, LEASES))
    settings = Settings.from_env({"ALLOW_NETWORKS": "127.0.0.0/8"})
    broker, ended = build_worker(settings, store, heartbeats).broker, EndedThreads()
    broker.add_middleware(ended)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    with CrowdedOrigin(4, 0.3) as origin:
        lines = [f"{origin.base}/{number}" for number in range(8)]
        stored = store_batch(store, lines, per_host=2)
        worker.start()
        wait_for(lambda: store.members.tally(stored.group).done == len(lines))
    wait_for(lambda: ended.count > 2)
    for file in folder.iterdir():
        file.unlink()
    wait_for(lambda: len(list(folder.iterdir())) == len((SWEEPER, DISPATCHER, LEASES)))
    worker.stop(timeout=10_000)


def test_a_worker_starts_without_a_warning(
    begin: Callable[..., Callable[[], Task]],
    serve: Callable[[Mapping[str, bytes]], Origin],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    origin = serve({"/file": b"x"})

    task = begin(f"{origin.base}/file", "user@example.com", DATA_DIR=str(tmp_path / "data"))

    wait_for(lambda: task().mail_status is MailStatus.SENT)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_every_kind_of_step_is_taken_by_one_worker(store: SQLiteStore) -> None:
    runtime = build_worker(Settings(), store)
    main = dramatiq.Worker(runtime.broker)
    assert keep_to_downloads(main)
    mails = MailWorker(runtime.broker, open_mailer(Settings(), 1))
    batches, lanes = BatchWorker(runtime.broker), LaneWorker(runtime.broker)

    queues = [
        name for each in (main, mails, batches, lanes) for name in each.consumer_whitelist or ()
    ]

    assert sorted(queues) == sorted(kind.value for kind in StepKind)
