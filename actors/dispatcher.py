"""The publisher: a task's next step becomes its actor's message, off the caller's thread."""

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue

from dramatiq import Broker, Message, MessageProxy

from actors.broker import count_waiting, disconnect, ping
from tasks.errors import StoreUnavailableError
from tasks.store import TaskStore
from tasks.task import Step, Task

BATCH = 500  # messages published between two writes of wake_at
MAX_WAITING = 20_000  # tasks, when they come faster than they can be published
PING_SECONDS = 5.0  # how soon a broker that comes or goes is noticed while nothing is published
STOP_SECONDS = 5.0  # how long a stop waits for what is still to be published
# Messages of several publishers need not stand in the queue in the order of their times.
ORDER_TOLERANCE = timedelta(minutes=1)

_log = logging.getLogger(__name__)


class Dispatcher:
    """One thread with one publishing connection.

    Nothing is lost here that matters: a task whose message didn't get out keeps its wake_at, and
    a sweeper dispatches it again. A task whose message is still waiting in a long queue gets no
    second one.
    """

    def __init__(self, broker: Broker, store: TaskStore) -> None:
        self._broker = broker
        self._store = store
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self.is_failing = False
        self._accepting = threading.Lock()
        self._accepted = 0
        self._handled = 0  # of those accepted: published, or let go of
        self._consumed: dict[Step, datetime] = {}

    def has_handled(self, number: int) -> bool:
        """Whether the task of that number, and so all before it, has been dealt with."""
        return self._handled >= number

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what is waiting, for a few seconds at the most."""
        self._tasks.put(None)
        self._thread.join(STOP_SECONDS)

    def dispatch(self, tasks: Iterable[Task]) -> int:
        """Send each task's next message soon. Returns at once, and raises nothing.

        When too many are waiting already, the task is left to a sweeper. Returns the number of
        the last task accepted, for `has_handled`.
        """
        with self._accepting:
            for task in tasks:
                if task.next_step is not None and self._tasks.qsize() < MAX_WAITING:
                    self._tasks.put(task)
                    self._accepted += 1
            return self._accepted

    def note_consumed(self, step: Step, published_at: datetime) -> None:
        """This process has taken up a message: those published before it are waiting no more."""
        self._consumed[step] = max(published_at, self._consumed.get(step, published_at))

    def _run(self) -> None:
        while (task := self._next()) is not None:
            batch = [task]
            while len(batch) < BATCH and (following := self._poll()) is not None:
                batch.append(following)
            try:
                self._dispatch(batch)
            except StoreUnavailableError as error:
                _log.warning("%d tasks not marked as dispatched: %s", len(batch), error)
            except Exception:  # noqa: BLE001  the edge: the thread must go on
                _log.exception("%d tasks not marked as dispatched", len(batch))
            self._handled += len(batch)
        disconnect(self._broker)

    def _next(self) -> Task | None:
        """The next task, None to stop; the connection is kept alive meanwhile."""
        while True:
            try:
                return self._tasks.get(timeout=PING_SECONDS)
            except Empty:
                try:
                    ping(self._broker)
                except Exception as error:  # noqa: BLE001  pika raises what is no AMQPError, too
                    self._fail(error)
                else:
                    self._recover()

    def _poll(self) -> Task | None:
        try:
            task = self._tasks.get_nowait()
        except Empty:
            return None
        if task is None:
            self._tasks.put(None)  # the stop is for the outer loop
        return task

    def _dispatch(self, batch: list[Task]) -> None:
        now = self._store.now()
        lengths: dict[Step, int] = {}
        marked = []
        try:
            for task in batch:
                assert task.next_step is not None
                if self._is_still_waiting(task, task.next_step, lengths, now):
                    marked.append(task.still_waiting(now))
                else:
                    self._broker.enqueue(_make_message(task.id, task.next_step, now))
                    marked.append(task.dispatched(now))
                self._recover()
        except Exception as error:  # noqa: BLE001  pika raises what is no AMQPError, too
            self._fail(error)
        self._store.mark_dispatched(marked)

    def _is_still_waiting(
        self, task: Task, step: Step, lengths: dict[Step, int], now: datetime
    ) -> bool:
        """Whether the message that a task got earlier may still stand in the queue.

        A queue is first in, first out: it doesn't once a later one has been taken up. `lengths`
        remembers for a batch how many messages wait for each step.
        """
        if task.dispatched_at is None:
            return False
        consumed = self._consumed.get(step)
        if consumed is not None and task.dispatched_at + ORDER_TOLERANCE < min(consumed, now):
            return False
        if step not in lengths:
            lengths[step] = count_waiting(self._broker, step.value)
        return lengths[step] > 0

    def _recover(self) -> None:
        if self.is_failing:
            _log.info("the broker is back")
            self.is_failing = False

    def _fail(self, error: Exception) -> None:
        """Let go of all that waits: without the broker it would only grow old here."""
        if not self.is_failing:
            _log.warning("the broker is out of reach, tasks wait: %s", type(error).__name__)
            self.is_failing = True
        while self._poll() is not None:
            self._handled += 1


def _make_message(task_id: str, step: Step, now: datetime) -> Message[None]:
    return Message(
        queue_name=step.value,
        actor_name=step.value,
        args=(task_id,),
        kwargs={},
        options={},
        message_timestamp=round(now.timestamp() * 1000),
    )


def published_at(message: MessageProxy | Message[None]) -> datetime:
    """The time of the store at which a message was published."""
    return datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
