from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier

import pytest

import worker.sweeper
from devtools.waiting import wait_for
from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.failure import FailureCode
from tasks.outcome import Succeeded
from tasks.step import MailStatus, Status, StepKind
from tasks.task import Task
from tests.examples import ADDRESS, DIGEST, LEASE, RETENTION, insert, make_task, with_attempt
from tests.fakes import FakeClock, RecordingBroker, ScriptedStore
from worker.broker import broker_availability
from worker.publisher import BATCH, Dispatcher
from worker.sweeper import HOLD, Sweeper

SECOND = timedelta(seconds=1)
SETTINGS = Settings(rabbitmq_url="amqp://elsewhere", max_attempts=2)


@pytest.fixture(autouse=True)
def no_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.sweeper, "LAST_CALL_SECONDS", 0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sweeper(store: ScriptedStore, dispatcher: Dispatcher, clock: FakeClock) -> Sweeper:
    """Return a sweeper that is not started: tests let it sweep."""
    return make_watching(store, dispatcher, clock)


def make_watching(store: ScriptedStore, dispatcher: Dispatcher, clock: FakeClock) -> Sweeper:
    """Return a sweeper that knows that the store was not out of reach just now."""
    made = Sweeper(store, dispatcher, SETTINGS, clock)
    made.sweep()
    clock.seconds += HOLD.total_seconds()
    made.sweep()
    return made


def insert_due(store: ScriptedStore, task: Task) -> Task:
    due = replace(task, wake_at=store.now() - SECOND)
    insert(store, due)
    return due


def get(store: ScriptedStore, task: Task) -> Task:
    found = store.get(task.id)
    assert found is not None
    return found


def test_due_task_is_dispatched_again(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    task = insert_due(store, make_task().dispatched(store.now()))
    assert sweeper.sweep() == 1
    wait_for(lambda: broker.messages == [("compute_md5", task.id)])
    assert get(store, task).version == task.version
    assert sweeper.sweep() == 0


def test_pending_mail_is_dispatched_again(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    running = make_task(ADDRESS).claimed(store.now(), LEASE)
    task = insert_due(store, running.ended(Succeeded(DIGEST), store.now(), retention=RETENTION))
    sweeper.sweep()
    wait_for(lambda: get(store, task).dispatched_at)
    assert broker.messages == [("send_email", task.id)]


def test_tasks_that_are_not_due_are_left_alone(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    task = make_task(now=store.now())
    running = make_task(now=store.now()).claimed(store.now(), LEASE)
    settled = running.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)
    untouched = [task, running, replace(settled, id="settled")]
    for each in untouched:
        insert(store, each)
    assert sweeper.sweep() == 0
    assert [get(store, each) for each in untouched] == untouched
    assert broker.messages == []


def test_expired_claim_is_queued_and_dispatched(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    task = insert_due(store, make_task().claimed(store.now(), LEASE))
    sweeper.sweep()
    wait_for(lambda: get(store, task).dispatched_at)
    found = get(store, task)
    assert (found.status, found.attempt, found.version) == (Status.QUEUED, 1, task.version + 1)
    assert broker.messages == [("compute_md5", task.id)]
    assert store.save(task.renewed(store.now(), LEASE)) is None  # its worker finds out


def test_claim_that_expired_in_the_last_attempt_fails(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    task = insert_due(
        store, with_attempt(make_task().claimed(store.now(), LEASE), StepKind.COMPUTE_MD5, 2)
    )
    sweeper.sweep()
    found = get(store, task)
    assert found.status is Status.FAILED
    assert found.failure is not None
    assert found.failure.code is FailureCode.WORKER_LOST
    assert found.wake_at is None
    assert broker.messages == []


def test_failure_of_a_lost_worker_is_mailed(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    running = make_task(ADDRESS).claimed(store.now(), LEASE)
    task = insert_due(store, with_attempt(running, StepKind.COMPUTE_MD5, 2))
    sweeper.sweep()
    wait_for(lambda: get(store, task).dispatched_at)
    assert broker.messages == [("send_email", task.id)]


def test_expired_mail_is_pending_and_dispatched(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker
) -> None:
    now = store.now()
    ended = (
        make_task(ADDRESS).claimed(now, LEASE).ended(Succeeded(DIGEST), now, retention=RETENTION)
    )
    task = insert_due(store, ended.claimed(now, LEASE))
    sweeper.sweep()
    wait_for(lambda: get(store, task).dispatched_at)
    assert get(store, task).mail_status is MailStatus.PENDING
    assert broker.messages == [("send_email", task.id)]


def test_claim_renewed_just_in_time_is_left_alone(
    dispatcher: Dispatcher,
    store: ScriptedStore,
    broker: RecordingBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeper = make_watching(store, dispatcher, FakeClock())
    task = insert_due(store, make_task().claimed(store.now(), LEASE))
    take_due = store.take_due

    def renew_after(now: datetime, visible_again_at: datetime, limit: int) -> list[Task]:
        taken = take_due(now, visible_again_at, limit)
        assert store.save(task.renewed(now, LEASE)) is not None
        return taken

    monkeypatch.setattr(store, "take_due", renew_after)
    sweeper.sweep()
    found = get(store, task)
    assert (found.status, found.version) == (Status.RUNNING, task.version + 1)
    assert broker.messages == []


def test_a_living_worker_may_renew_an_expired_lease_at_the_last_moment(
    sweeper: Sweeper,
    store: ScriptedStore,
    broker: RecordingBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its worker may notice the end of an outage later than the sweeper."""
    living, lost = (insert_due(store, make_task().claimed(store.now(), LEASE)) for _ in range(2))

    def renew(_seconds: float) -> bool:
        assert store.save(living.renewed(store.now(), LEASE)) is not None
        return False

    monkeypatch.setattr(sweeper._stopped, "wait", renew)
    sweeper.sweep()

    assert get(store, living).status is Status.RUNNING
    assert get(store, lost).status is Status.QUEUED
    wait_for(lambda: broker.messages == [("compute_md5", lost.id)])


def test_a_stop_takes_no_leases(
    sweeper: Sweeper, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = insert_due(store, make_task().claimed(store.now(), LEASE))
    monkeypatch.setattr(sweeper._stopped, "wait", lambda _seconds: True)
    sweeper.sweep()
    assert get(store, running).status is Status.RUNNING


def test_several_sweepers_dispatch_each_task_once(
    store: ScriptedStore, broker: RecordingBroker
) -> None:
    dispatchers = [Dispatcher(broker, store, broker_availability()) for _ in range(4)]
    sweepers = [make_watching(store, dispatcher, FakeClock()) for dispatcher in dispatchers]
    due = [insert_due(store, make_task()) for _ in range(200)]
    due += [insert_due(store, make_task().claimed(store.now(), LEASE)) for _ in range(50)]
    for dispatcher in dispatchers:
        dispatcher.start()
    barrier = Barrier(4)

    def sweep(sweeper: Sweeper) -> None:
        barrier.wait()
        sweeper.sweep()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sweep, sweepers))
    for dispatcher in dispatchers:
        dispatcher.stop()
    assert Counter(task_id for _, task_id in broker.messages) == Counter(task.id for task in due)


def test_sweep_waits_until_its_last_tasks_are_dispatched(
    store: ScriptedStore, broker: RecordingBroker
) -> None:
    dispatcher = Dispatcher(broker, store, broker_availability())
    sweeper = make_watching(store, dispatcher, FakeClock())
    insert_due(store, make_task())
    assert sweeper.sweep() == 1
    task = insert_due(store, make_task())
    assert sweeper.sweep() == 0
    assert get(store, task) == task
    dispatcher.start()
    wait_for(lambda: broker.messages)
    wait_for(sweeper.sweep)
    dispatcher.stop()


def test_sweep_does_not_wait_for_the_tasks_of_others(
    store: ScriptedStore, broker: RecordingBroker
) -> None:
    dispatcher = Dispatcher(broker, store, broker_availability())
    sweeper = make_watching(store, dispatcher, FakeClock())
    insert_due(store, make_task())
    dispatcher.dispatch([make_task()])
    assert sweeper.sweep() == 1


def test_a_sweep_that_waits_still_notices_an_outage(
    store: ScriptedStore, broker: RecordingBroker
) -> None:
    clock = FakeClock()
    dispatcher = Dispatcher(broker, store, broker_availability())
    sweeper = make_watching(store, dispatcher, clock)
    insert_due(store, make_task())
    sweeper.sweep()

    clock.seconds += SETTINGS.lease
    sweeper.sweep()

    dispatcher.start()
    wait_for(lambda: broker.messages)
    running = insert_due(store, make_task().claimed(store.now(), LEASE))
    wait_for(sweeper.sweep)
    dispatcher.stop()
    assert get(store, running).status is Status.RUNNING, "its worker may still renew it"


def test_one_task_tries_a_broker_that_is_down(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker, dispatcher: Dispatcher
) -> None:
    due = [insert_due(store, make_task()) for _ in range(20)]
    dispatcher.is_broker_down = True
    assert sweeper.sweep() == 1
    wait_for(lambda: not dispatcher.is_broker_down)
    assert wait_for(sweeper.sweep) == 19
    wait_for(lambda: len(broker.messages) == len(due))


def test_refused_messages_are_due_after_the_hold(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker, dispatcher: Dispatcher
) -> None:
    task = insert_due(store, make_task())
    broker.is_down = True
    sweeper.sweep()
    wait_for(lambda: dispatcher.is_broker_down)
    found = get(store, task)
    assert found.dispatched_at is None
    assert found.wake_at is not None
    assert found.wake_at <= store.now() + HOLD


@pytest.mark.parametrize(("rabbitmq_url", "is_woken"), [(None, True), ("amqp://elsewhere", False)])
def test_only_an_embedded_start_wakes_everything(
    store: ScriptedStore,
    dispatcher: Dispatcher,
    rabbitmq_url: str | None,
    is_woken: bool,  # noqa: FBT001
) -> None:
    queued = make_task(now=store.now()).dispatched(store.now())
    running = make_task(now=store.now()).claimed(store.now(), LEASE)
    insert(store, queued)
    insert(store, running)
    sweeper = Sweeper(store, dispatcher, Settings(rabbitmq_url=rabbitmq_url))
    assert sweeper.sweep() == is_woken
    assert sweeper.sweep() == 0
    assert get(store, running) == running


def test_loop_survives_every_error_and_empties_a_backlog(
    store: ScriptedStore,
    broker: RecordingBroker,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker.sweeper, "INTERVAL_SECONDS", 0.02)
    due = [insert_due(store, make_task()) for _ in range(2 * BATCH + 5)]
    store.fail("take_due", times=2)
    store.fail("take_due", error=ValueError("bug"))
    sweeper = Sweeper(store, dispatcher, SETTINGS)
    sweeper.start()
    wait_for(lambda: len(broker.messages) == len(due))
    sweeper.stop()
    assert Counter(task_id for _, task_id in broker.messages) == Counter(task.id for task in due)


def test_living_workers_may_renew_after_an_outage(
    sweeper: Sweeper, store: ScriptedStore, broker: RecordingBroker, clock: FakeClock
) -> None:
    running = insert_due(store, make_task().claimed(store.now(), LEASE))
    queued = insert_due(store, make_task())
    clock.seconds += SETTINGS.lease
    assert sweeper.sweep() == 2
    wait_for(lambda: get(store, queued).dispatched_at)
    assert [task_id for _, task_id in broker.messages] == [queued.id]
    assert store.save(running.renewed(store.now(), LEASE)) is not None


def test_living_workers_may_renew_after_a_sweep_that_failed(
    sweeper: Sweeper, store: ScriptedStore
) -> None:
    running = insert_due(store, make_task().claimed(store.now(), LEASE))
    store.fail("take_due")
    with pytest.raises(StoreUnavailableError):
        sweeper.sweep()
    assert sweeper.sweep() == 1
    assert get(store, running).status is Status.RUNNING


def test_a_sweeper_just_started_cannot_know_of_an_outage(
    store: ScriptedStore, dispatcher: Dispatcher
) -> None:
    running = insert_due(store, make_task().claimed(store.now(), LEASE))
    sweeper = Sweeper(store, dispatcher, SETTINGS)
    assert sweeper.sweep() == 1
    assert get(store, running).status is Status.RUNNING


def test_after_the_grace_a_lost_worker_is_lost(
    sweeper: Sweeper, store: ScriptedStore, clock: FakeClock
) -> None:
    clock.seconds += SETTINGS.lease
    sweeper.sweep()
    clock.seconds += HOLD.total_seconds()
    task = insert_due(store, make_task().claimed(store.now(), LEASE))
    sweeper.sweep()
    assert get(store, task).status is Status.QUEUED
