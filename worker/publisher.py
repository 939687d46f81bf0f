"""The publisher: a task's next step becomes its actor's message, off the caller's thread."""

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any, cast

from dramatiq import Broker, Message, MessageProxy

from tasks.errors import StoreUnavailableError
from tasks.stores.contract import TaskStore
from tasks.task import Task
from telemetry.availability import Availability
from telemetry.heartbeat import Beat, no_beat
from worker import metrics
from worker.broker import count_waiting, disconnect, ping, report_failure
from worker.publishing import publish_all

BATCH = 500  # messages published between two writes of wake_at
MAX_WAITING = 20_000  # tasks, when they come faster than they can be published
PING_SECONDS = 5.0  # how soon a broker that comes or goes is noticed while nothing is published
DISPATCHER = "dispatcher"
STOP_SECONDS = 5.0  # how long a stop waits for what is still to be published
# Messages of several publishers need not stand in the queue in the order of their times.
ORDER_TOLERANCE = timedelta(minutes=1)
PING = object()  # in the place of a task: say whether the broker answers

_log = logging.getLogger(__name__)


class Dispatcher:
    """One thread with one publishing connection.

    Nothing is lost here that matters: a task whose message didn't get out keeps its wake_at, and
    a sweeper dispatches it again. A task whose message is still waiting in a long queue gets no
    second one.
    """

    def __init__(
        self,
        broker: Broker,
        store: TaskStore,
        availability: Availability,
        beat: Beat = no_beat,
    ) -> None:
        self._broker = broker
        self._beat = beat
        self._store = store
        self._availability = availability
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=DISPATCHER, daemon=True)
        self.is_broker_down = False
        self._is_broker_up = False  # as last reported
        self._accepting = threading.Lock()
        self._accepted = 0
        self._handled = 0  # of those accepted: published, or let go of
        self._ping_done = threading.Condition()  # the broker has answered, or failed to
        self._pings = 0
        self._consumed: dict[str, datetime] = {}  # by queue

    def has_handled(self, number: int) -> bool:
        """Whether the task of that number, and so all before it, has been dealt with."""
        return self._handled >= number

    def start(self) -> None:
        metrics.broker_up.set(0)
        self._thread.start()

    def stop(self) -> None:
        """Publish what is waiting, for at most a few seconds."""
        self._tasks.put(None)
        self._thread.join(STOP_SECONDS)

    def dispatch(self, tasks: Iterable[Task]) -> int:
        """Send each task's next message soon. Returns at once, and raises nothing.

        Members of batches wait for their lanes. When too many tasks are waiting already, the others
        are left to a sweeper. Returns the number of the last task accepted, for `has_handled`.
        """
        with self._accepting:
            for task in tasks:
                needs_message = task.next_step is not None and task.member is None
                if needs_message and self._tasks.qsize() < MAX_WAITING:
                    self._tasks.put(task)
                    self._accepted += 1
            return self._accepted

    def is_broker_reachable(self, seconds: float) -> bool:
        """Return whether the broker answers this dispatcher within the time."""
        with self._ping_done:
            before = self._pings
            self._tasks.put(PING)
            is_told = self._ping_done.wait_for(lambda: self._pings > before, seconds)
        return is_told and not self.is_broker_down

    def _finish_ping(self) -> None:
        with self._ping_done:
            self._pings += 1
            self._ping_done.notify_all()

    def record_consumed(self, queue: str, published_at: datetime) -> None:
        """This process has taken up a message: those published before it are waiting no more."""
        self._consumed[queue] = max(published_at, self._consumed.get(queue, published_at))

    def _run(self) -> None:
        self._ping()
        while (task := self._next()) is not None:
            batch = [task]
            while len(batch) < BATCH and (following := self._poll()) is not None:
                batch.append(following)
            try:
                self._dispatch(batch)
            except StoreUnavailableError as error:
                _log.debug("%d tasks not marked as dispatched: %s", len(batch), error)
            except Exception:  # noqa: BLE001  the edge: the thread must go on
                _log.exception("%d tasks not marked as dispatched", len(batch))
            self._handled += len(batch)
        disconnect(self._broker)

    def _next(self) -> Task | None:
        """Return the next task, or None to stop. Keeps the connection alive while it waits."""
        while True:
            self._beat(DISPATCHER)
            try:
                task: Task | None = self._tasks.get(timeout=PING_SECONDS)
            except Empty:
                self._ping()
            else:
                if task is not PING:
                    return task
                self._ping()

    def _ping(self) -> None:
        try:
            ping(self._broker)
        except Exception as error:  # noqa: BLE001  pika also raises errors of its own
            self._fail(error)
        else:
            self._recover()
        self._finish_ping()

    def _poll(self) -> Task | None:
        task: Any = PING
        try:
            while task is PING:  # publishing shows it as well
                task = self._tasks.get_nowait()
        except Empty:
            return None
        if task is None:
            self._tasks.put(None)  # the stop is for the outer loop
        return cast("Task | None", task)

    def _dispatch(self, batch: list[Task]) -> None:
        now = self._store.now()
        lengths: dict[str, int] = {}
        waiting, sent, messages = [], [], []
        try:
            for task in batch:
                assert task.next_step is not None
                queue = task.next_step.value
                if self._is_still_waiting(task, queue, lengths, now):
                    waiting.append(task.still_waiting(now))
                else:
                    sent.append(task.dispatched(now))
                    messages.append(_make_message(task.id, queue, now))
            publish_all(self._broker, messages)
        except Exception as error:  # noqa: BLE001  pika also raises errors of its own
            self._fail(error)
            sent.clear()
        else:
            self._recover()
        self._finish_ping()
        self._store.mark_dispatched([*waiting, *sent])

    def _is_still_waiting(
        self, task: Task, queue: str, lengths: dict[str, int], now: datetime
    ) -> bool:
        """Whether the message that a task got earlier may still stand in the queue.

        A queue is first in, first out: it doesn't once a later one has been taken up. `lengths`
        remembers for a batch how many messages wait in each queue.
        """
        if task.dispatched_at is None:
            return False
        consumed = self._consumed.get(queue)
        if consumed is not None and task.dispatched_at + ORDER_TOLERANCE < min(consumed, now):
            return False
        if queue not in lengths:
            lengths[queue] = count_waiting(self._broker, queue)
        return lengths[queue] > 0

    def _recover(self) -> None:
        self.is_broker_down = False
        self._availability.succeeded()
        self._report(
            is_up=not self._availability.is_down
        )  # the consumers of this process may still fail

    def _fail(self, error: Exception) -> None:
        """Let go of all that waits: without the broker it would only grow old here."""
        report_failure(self._availability, error)
        self._report(is_up=False)
        self.is_broker_down = True
        while self._poll() is not None:
            self._handled += 1

    def _report(self, *, is_up: bool) -> None:
        if is_up != self._is_broker_up:
            self._is_broker_up = is_up
            metrics.broker_up.set(is_up)


def _make_message(task_id: str, queue: str, now: datetime) -> Message[None]:
    return Message(
        queue_name=queue,
        actor_name=queue,
        args=(task_id,),
        kwargs={},
        options={},
        message_timestamp=round(now.timestamp() * 1000),
    )


def published_at(message: MessageProxy | Message[None]) -> datetime:
    """The time of the store at which a message was published."""
    return datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
