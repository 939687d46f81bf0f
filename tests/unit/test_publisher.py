import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from dramatiq import Message

import worker.publisher
from devtools.waiting import wait_for
from tasks.batch import Tally
from tasks.outcome import RetryLater, Succeeded, Unfinished
from tasks.pauses import PUBLISHED_PAUSE
from tasks.step import StepKind
from tasks.task import Task
from tests.batches import store_batch
from tests.examples import ADDRESS, DIGEST, LEASE, NOW, RETENTION, insert, make_task
from tests.fakes import RecordingBroker, ScriptedStore
from worker.broker import broker_availability
from worker.publisher import BATCH, Dispatcher, published_at
from worker.runtime import wake_batch

MINUTE = timedelta(minutes=1)


def insert_new(store: ScriptedStore, count: int = 1) -> list[Task]:
    made = [make_task(now=store.now()) for _ in range(count)]
    for task in made:
        insert(store, task)
    return made


def is_dispatched(store: ScriptedStore, task: Task) -> bool:
    found = store.get(task.id)
    assert found is not None
    return found.dispatched_at is not None


def test_task_becomes_its_message_and_is_marked(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    (task,) = insert_new(store)
    before = store.now()
    dispatcher.dispatch([task])
    wait_for(lambda: is_dispatched(store, task))
    assert broker.messages == [("compute_md5", task.id)]
    found = store.get(task.id)
    assert found is not None
    assert found.version == task.version
    assert found.wake_at is not None
    assert before + PUBLISHED_PAUSE <= found.wake_at <= store.now() + PUBLISHED_PAUSE
    wait_for(lambda: dispatcher.has_handled(1))
    assert not dispatcher.has_handled(2)


def test_member_of_a_batch_gets_no_message(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    stored = store_batch(store, ["http://example.com/"])
    dispatcher.dispatch([*stored.members, *stored.lanes])
    wait_for(lambda: broker.messages)
    assert broker.messages == [("run_lane", stored.lanes[0].id)]


def test_waking_a_batch_does_not_cut_the_pause_of_its_mail_short(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    stored = store_batch(store, ["http://example.com/"], email=ADDRESS)
    running = stored.task.claimed(NOW, LEASE)
    ended = running.ended(Succeeded(tally=Tally(done=1)), NOW, retention=RETENTION)
    paused = ended.claimed(NOW, LEASE).ended(RetryLater(MINUTE), NOW, retention=RETENTION)
    mailing = store.save(paused)

    wake_batch(store, dispatcher, threading.Event(), stored.task.id)

    assert store.get(stored.task.id) == mailing
    dispatcher.stop()
    assert broker.messages == []


def test_waking_a_batch_sends_its_message(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    stored = store_batch(store, ["http://example.com/"])
    pausing = stored.task.claimed(NOW, LEASE).ended(Unfinished(MINUTE), NOW, retention=RETENTION)
    store.save(pausing)
    wake_batch(store, dispatcher, threading.Event(), stored.task.id)
    wait_for(lambda: broker.messages)
    woken = store.get(stored.task.id)
    assert woken is not None
    assert woken.retry_at is None


def test_batch_that_is_looking_is_woken_after_that(
    dispatcher: Dispatcher,
    broker: RecordingBroker,
    store: ScriptedStore,
    stopping: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last member may have ended after it had counted."""
    stored = store_batch(store, ["http://example.com/"])
    looking = store.save(stored.task.claimed(NOW, LEASE))
    assert looking is not None

    def end_look(_seconds: float) -> bool:
        return store.save(looking.ended(Unfinished(MINUTE), NOW, retention=RETENTION)) is None

    monkeypatch.setattr(stopping, "wait", end_look)
    wake_batch(store, dispatcher, stopping, stored.task.id)
    wait_for(lambda: broker.messages)
    assert broker.messages == [("run_batch", stored.task.id)]


def test_pending_mail_becomes_a_message(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    ended = (
        make_task(ADDRESS).claimed(NOW, LEASE).ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    )
    insert(store, ended)
    dispatcher.dispatch([ended])
    wait_for(lambda: is_dispatched(store, ended))
    assert broker.messages == [("send_email", ended.id)]


def test_claimed_and_settled_tasks_get_no_message(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    running = make_task().claimed(NOW, LEASE)
    settled = running.ended(Succeeded(DIGEST), NOW, retention=RETENTION)
    (last,) = insert_new(store)
    dispatcher.dispatch([running, settled, last])
    wait_for(lambda: is_dispatched(store, last))
    assert broker.messages == [("compute_md5", last.id)]


def test_a_claim_in_flight_is_left_alone(dispatcher: Dispatcher, store: ScriptedStore) -> None:
    task, last = insert_new(store, 2)
    claimed = store.save(task.claimed(store.now(), LEASE))
    dispatcher.dispatch([task, last])
    wait_for(lambda: is_dispatched(store, last))
    assert store.get(task.id) == claimed


def test_more_than_a_batch_keeps_its_order(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    (last,) = insert_new(store)
    many = [make_task() for _ in range(BATCH + 10)]
    dispatcher.dispatch([*many, last])
    wait_for(lambda: is_dispatched(store, last))
    assert [task_id for _, task_id in broker.messages] == [task.id for task in [*many, last]]


def test_tasks_beyond_the_queue_are_left_to_a_sweeper(
    monkeypatch: pytest.MonkeyPatch, broker: RecordingBroker, store: ScriptedStore
) -> None:
    monkeypatch.setattr(worker.publisher, "MAX_WAITING", 2)
    made = insert_new(store, 3)
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.dispatch(made)
    dispatcher.start()
    dispatcher.stop()
    assert [task_id for _, task_id in broker.messages] == [task.id for task in made[:2]]
    assert store.get(made[2].id) == made[2]


def test_stop_publishes_the_waiting_tasks(broker: RecordingBroker, store: ScriptedStore) -> None:
    made = insert_new(store, 20)
    dispatcher = Dispatcher(broker, store, broker_availability())
    last = dispatcher.dispatch(made)
    assert not dispatcher.has_handled(last)
    dispatcher.start()
    dispatcher.stop()
    assert dispatcher.has_handled(last)
    assert len(broker.messages) == 20
    assert all(is_dispatched(store, task) for task in made)


def test_broker_that_raises_is_survived(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    lost, back = insert_new(store, 2)
    broker.is_down = True
    dispatcher.dispatch([lost])
    wait_for(lambda: dispatcher.is_broker_down)
    broker.is_down = False
    dispatcher.dispatch([back])
    wait_for(lambda: is_dispatched(store, back))
    assert not dispatcher.is_broker_down
    assert store.get(lost.id) == lost  # its wake_at stands, so a sweeper finds it
    assert broker.messages == [("compute_md5", back.id)]


def test_no_message_of_a_batch_that_failed_is_marked(
    broker: RecordingBroker, store: ScriptedStore
) -> None:
    """It is not known which of them have been sent. A second message does no harm."""
    made = insert_new(store, 3)
    broker.lasts = 1
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.dispatch(made)
    dispatcher.start()
    wait_for(lambda: dispatcher.has_handled(3))
    dispatcher.stop()
    assert dispatcher.is_broker_down
    assert broker.refused == 1
    assert [store.get(task.id) for task in made] == made


def test_stop_while_the_broker_is_down(broker: RecordingBroker, store: ScriptedStore) -> None:
    broker.is_down = True
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.dispatch(insert_new(store, 5))
    dispatcher.start()
    dispatcher.stop()
    assert not dispatcher._thread.is_alive()
    assert dispatcher.is_broker_down


def test_broker_that_is_back_is_noticed_while_nothing_is_published(
    monkeypatch: pytest.MonkeyPatch, broker: RecordingBroker, store: ScriptedStore
) -> None:
    monkeypatch.setattr(worker.publisher, "PING_SECONDS", 0.02)
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.start()
    broker.is_down = True
    dispatcher.dispatch([make_task()])
    wait_for(lambda: broker.refused)
    wait_for(lambda: not dispatcher.is_broker_down)
    dispatcher.stop()


def test_store_out_of_reach_is_survived(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    first, second = insert_new(store, 2)
    fault = store.fail("mark_dispatched")
    dispatcher.dispatch([first])
    wait_for(lambda: not fault.times)
    dispatcher.dispatch([second])
    wait_for(lambda: is_dispatched(store, second))
    assert [task_id for _, task_id in broker.messages] == [first.id, second.id]
    assert store.get(first.id) == first


@pytest.fixture
def waiting(store: ScriptedStore, broker: RecordingBroker) -> Task:
    """A task dispatched ten minutes ago, whose message still stands in the queue."""
    long_ago = store.now() - 10 * MINUTE
    task = replace(make_task(now=long_ago).dispatched(long_ago), wake_at=store.now())
    insert(store, task)
    broker.enqueue(message_for("another task"))
    broker.messages.clear()
    return task


def message_for(task_id: str) -> Message[None]:
    name = StepKind.COMPUTE_MD5.value
    return Message(queue_name=name, actor_name=name, args=(task_id,), kwargs={}, options={})


def wake_at(store: ScriptedStore, task: Task) -> datetime:
    found = store.get(task.id)
    assert found is not None
    assert found.wake_at is not None
    return found.wake_at


def test_a_task_in_a_long_queue_gets_no_second_message(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore, waiting: Task
) -> None:
    dispatcher.dispatch([waiting])
    wait_for(lambda: wake_at(store, waiting) > store.now() + 9 * MINUTE)
    assert broker.messages == []


def test_a_task_whose_message_is_lost_gets_another_one(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore, waiting: Task
) -> None:
    broker.queues[StepKind.COMPUTE_MD5.value].get()
    dispatcher.dispatch([waiting])
    wait_for(lambda: broker.messages == [("compute_md5", waiting.id)])
    wait_for(lambda: wake_at(store, waiting) > store.now())


def test_a_task_passed_by_later_messages_gets_another_one(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore, waiting: Task
) -> None:
    dispatcher.record_consumed(StepKind.COMPUTE_MD5, store.now() - 8 * MINUTE)
    dispatcher.record_consumed(StepKind.COMPUTE_MD5, store.now() - 11 * MINUTE)
    dispatcher.dispatch([waiting])
    wait_for(lambda: broker.messages == [("compute_md5", waiting.id)])


def test_a_task_passed_by_earlier_messages_waits(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore, waiting: Task
) -> None:
    dispatcher.record_consumed(StepKind.COMPUTE_MD5, store.now() - 11 * MINUTE)
    dispatcher.record_consumed(StepKind.SEND_EMAIL, store.now())
    dispatcher.dispatch([waiting])
    wait_for(lambda: wake_at(store, waiting) > store.now() + 9 * MINUTE)
    assert broker.messages == []


def test_a_task_passed_within_the_tolerance_waits(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore, waiting: Task
) -> None:
    dispatcher.record_consumed(StepKind.COMPUTE_MD5, store.now() - 9.5 * MINUTE)
    dispatcher.dispatch([waiting])
    wait_for(lambda: wake_at(store, waiting) > store.now() + 9 * MINUTE)
    assert broker.messages == []


def test_a_message_from_the_future_breeds_no_copies(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    broker.enqueue(message_for("another task"))
    broker.messages.clear()
    task = make_task(now=store.now()).dispatched(store.now())
    insert(store, task)
    dispatcher.record_consumed(StepKind.COMPUTE_MD5, store.now() + 100 * MINUTE)
    dispatcher.dispatch([task])
    wait_for(lambda: dispatcher.has_handled(1))
    assert broker.messages == []


def test_the_queue_is_measured_once_a_batch(
    monkeypatch: pytest.MonkeyPatch,
    broker: RecordingBroker,
    store: ScriptedStore,
    waiting: Task,
) -> None:
    lengths = iter([1])
    monkeypatch.setattr(worker.publisher, "count_waiting", lambda *_: next(lengths))
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.dispatch([waiting, waiting, waiting])
    dispatcher.start()
    dispatcher.stop()
    assert broker.messages == []
    assert not dispatcher.is_broker_down


def test_message_carries_its_time_of_publication(
    dispatcher: Dispatcher, broker: RecordingBroker, store: ScriptedStore
) -> None:
    (task,) = insert_new(store)
    dispatcher.dispatch([task])
    wait_for(lambda: is_dispatched(store, task))
    found = store.get(task.id)
    assert found is not None
    message = Message.decode(broker.queues[StepKind.COMPUTE_MD5.value].get())
    assert published_at(message) == found.dispatched_at


def test_whether_the_broker_answers(
    monkeypatch: pytest.MonkeyPatch, broker: RecordingBroker, store: ScriptedStore
) -> None:
    answers = threading.Event()
    is_down = False

    def ping(_broker: object) -> None:
        assert answers.wait(10)
        if is_down:
            raise RuntimeError("stack timeout")  # no AMQPError

    monkeypatch.setattr(worker.publisher, "ping", ping)
    dispatcher = Dispatcher(broker, store, broker_availability())
    dispatcher.start()
    assert not dispatcher.is_broker_reachable(0.05), "nothing was heard of it so far"
    answers.set()
    assert dispatcher.is_broker_reachable(10)
    wait_for(lambda: dispatcher._pings >= 3)  # the first one, and one of each call
    is_down = True
    assert not dispatcher.is_broker_reachable(10)
    is_down = False
    assert dispatcher.is_broker_reachable(10)
    dispatcher.stop()
