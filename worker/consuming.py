"""Takes no more messages from RabbitMQ than this process has free threads for."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer


@dataclass(slots=True)
class _Work:
    message: MessageProxy
    thread: threading.Thread
    is_relieved: bool = False  # another thread takes the next messages


class BusyThreads(Middleware):
    """Knows the messages that the threads of this process are working on."""

    def __init__(self) -> None:
        self._work: dict[int, _Work] = {}  # by the id() of the message

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        self._work[id(message)] = _Work(message, threading.current_thread())

    def before_ack(self, _broker: Broker, message: MessageProxy) -> None:
        self._work.pop(id(message), None)

    def before_nack(self, _broker: Broker, message: MessageProxy) -> None:
        self._work.pop(id(message), None)

    def relieve(self, thread: threading.Thread) -> None:
        """Note that another thread takes the next messages instead of this one."""
        for work in list(self._work.values()):
            if work.thread is thread:
                work.is_relieved = True

    def working_on(self, queue_name: str, *, are_relieved: bool = False) -> list[int]:
        """Return the ids of a queue's messages, as `id()` gives them.

        Those are of threads that have been relieved, or of those that have not.
        """
        return [
            key
            for key, work in list(self._work.items())
            if work.message.queue_name == queue_name and work.is_relieved is are_relieved
        ]


class ThriftyConsumer(_RabbitmqConsumer):
    """Takes at most as many messages as threads are free, also after a reconnect.

    After a reconnect RabbitMQ does not count the messages of the connection that was lost,
    although threads are still busy with them. A full prefetch would then fill a busy process with
    messages that wait there while another process is idle.
    """

    def __init__(
        self, broker: Broker, queue_name: str, prefetch: int, timeout: int, busy: BusyThreads
    ) -> None:
        """`timeout` is how long to wait for a message, in milliseconds."""
        super().__init__(broker, queue_name, prefetch, timeout)
        # Messages with the tags of their subscriptions, by id(), until they are acknowledged.
        self.delivered: dict[int, tuple[MessageProxy, str]] = {}
        self._busy = busy
        self._prefetch = prefetch
        self._subscriptions: dict[str, int] = {}  # their ranks by their tags
        self._arrived: deque[tuple[Any, ...]] = deque()
        self._tag = ""  # of the delivery that was received last
        self._is_cancelled = False
        self._is_woken = False
        self.channel.add_on_cancel_callback(self._note_cancel)
        self.channel.basic_qos(prefetch_count=1)  # for each subscription
        self.iterator = self._receive(timeout / 1000)

    def __next__(self) -> MessageProxy | None:
        message: MessageProxy | None = super().__next__()
        if message is not None:
            self.delivered[id(message)] = message, self._tag
        return message

    def relieve(self, thread: threading.Thread) -> None:
        """Take a message for another thread, while this one is still working on one.

        May be called from any thread. Raises AMQPError if the connection is closed; the consumer
        of the next connection takes that message.
        """
        self._busy.relieve(thread)
        self.connection.add_callback_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_woken = True

    def _note_cancel(self, _frame: object) -> None:
        """Note that the queue was deleted."""
        self._is_cancelled = True

    def _receive(self, seconds: float) -> Iterator[tuple[Any, ...]]:
        """Yield deliveries, and Nones after each `seconds` without one."""
        while not self._is_cancelled:
            self._is_woken = False
            self._subscribe()
            deadline = time.monotonic() + seconds
            while not self._has_to_go_on and time.monotonic() < deadline:
                left = max(0.0, deadline - time.monotonic())
                self.channel._process_data_events(left)  # noqa: SLF001  raises ChannelClosed
            if self._arrived:
                delivery = self._arrived.popleft()
                self._tag = delivery[0].consumer_tag
                yield delivery
            else:
                yield None, None, None

    @property
    def _has_to_go_on(self) -> bool:
        return bool(self._arrived) or self._is_cancelled or self._is_woken

    def _subscribe(self) -> None:
        """Have a subscription for each thread that takes messages.

        A subscription takes one message at a time. That of a thread which has been relieved is
        cancelled, or it would take another one at the end of its message. RabbitMQ gives a message
        to a free subscription of the lowest rank, so each process gets about the same number.
        """
        # First, or a message that ends just now would be taken for one of an earlier connection.
        tags = {key: tag for key, (_, tag) in list(self.delivered.items())}
        for key in self._busy.working_on(self.queue_name, are_relieved=True):
            if (tag := tags.get(key)) in self._subscriptions:
                del self._subscriptions[tag]
                self.channel.basic_cancel(tag)
        earlier = [key for key in self._busy.working_on(self.queue_name) if key not in tags]
        for _ in range(self._prefetch - len(earlier) - len(self._subscriptions)):
            rank = min(set(range(self._prefetch)) - set(self._subscriptions.values()))
            tag = self.channel.basic_consume(
                self.queue_name, self._note_delivery, arguments={"x-priority": -rank}
            )
            self._subscriptions[tag] = rank

    def _note_delivery(self, _channel: object, *delivery: object) -> None:
        self._arrived.append(delivery)
