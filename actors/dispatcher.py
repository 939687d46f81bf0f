"""The publisher: a task's next step becomes its actor's message, off the caller's thread."""

import logging
import threading
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from dramatiq import Broker, Message

from actors.broker import disconnect, ping
from tasks.errors import StoreUnavailableError
from tasks.store import TaskStore
from tasks.task import Task

BATCH = 500  # messages published between two writes of wake_at
PING_SECONDS = 5.0  # how soon a broker that comes or goes is noticed while nothing is published
STOP_SECONDS = 5.0  # how long a stop waits for what is still to be published

_log = logging.getLogger(__name__)


class Dispatcher:
    """One thread with one publishing connection.

    Nothing is lost here that matters: a task whose message didn't get out keeps its wake_at, and
    a sweeper dispatches it again.
    """

    def __init__(self, broker: Broker, store: TaskStore) -> None:
        self._broker = broker
        self._store = store
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self.is_failing = False
        self._is_publishing = False

    @property
    def is_idle(self) -> bool:
        return self._tasks.empty() and not self._is_publishing

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what is waiting, for a few seconds at the most."""
        self._tasks.put(None)
        self._thread.join(STOP_SECONDS)

    def dispatch(self, tasks: Iterable[Task]) -> None:
        """Send each task's next message soon. Returns at once, and raises nothing."""
        for task in tasks:
            if task.next_step is not None:
                self._tasks.put(task)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            batch = [task]
            while len(batch) < BATCH and (following := self._poll()) is not None:
                batch.append(following)
            self._is_publishing = True
            published = self._publish(batch)
            self._is_publishing = False
            try:
                now = self._store.now()
                self._store.mark_dispatched([each.dispatched(now) for each in published])
            except StoreUnavailableError as error:
                _log.warning("%d tasks not marked as dispatched: %s", len(published), error)
            except Exception:  # noqa: BLE001  the edge: the thread must go on
                _log.exception("%d tasks not marked as dispatched", len(published))
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

    def _publish(self, batch: list[Task]) -> list[Task]:
        for count, task in enumerate(batch):
            assert task.next_step is not None
            step = task.next_step.value
            message: Message[None] = Message(
                queue_name=step, actor_name=step, args=(task.id,), kwargs={}, options={}
            )
            try:
                self._broker.enqueue(message)
            except Exception as error:  # noqa: BLE001  pika raises what is no AMQPError, too
                self._fail(error)
                return batch[:count]
            self._recover()
        return batch

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
            pass
