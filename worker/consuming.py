"""Takes no more messages from RabbitMQ than this process has free threads for."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer


class BusyThreads(Middleware):
    """Knows the messages that the threads of this process are working on."""

    def __init__(self) -> None:
        self._messages: dict[int, MessageProxy] = {}

    def before_process_message(self, _broker: Broker, message: MessageProxy) -> None:
        self._messages[id(message)] = message

    def before_ack(self, _broker: Broker, message: MessageProxy) -> None:
        self._messages.pop(id(message), None)

    def before_nack(self, _broker: Broker, message: MessageProxy) -> None:
        self._messages.pop(id(message), None)

    def working_on(self, queue_name: str) -> list[int]:
        """Return the ids of a queue's messages, as `id()` gives them."""
        messages = list(self._messages.items())
        return [key for key, message in messages if message.queue_name == queue_name]


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
        self.delivered: dict[int, MessageProxy] = {}  # by id(), until they are acknowledged
        self._busy = busy
        self._arrived: deque[tuple[Any, ...]] = deque()
        self._is_cancelled = False
        self.channel.add_on_cancel_callback(self._note_cancel)
        self.iterator = self._receive(prefetch, timeout / 1000)

    def __next__(self) -> MessageProxy | None:
        message: MessageProxy | None = super().__next__()
        if message is not None:
            self.delivered[id(message)] = message
        return message

    def _note_cancel(self, _frame: object) -> None:
        """Note that the queue was deleted."""
        self._is_cancelled = True

    def _receive(self, prefetch: int, seconds: float) -> Iterator[tuple[Any, ...]]:
        """Yield deliveries, and Nones after each `seconds` without one."""
        taken = 0
        while not self._is_cancelled:
            if taken < prefetch:
                taken += self._subscribe(prefetch - taken)
            deadline = time.monotonic() + seconds
            while not (self._arrived or self._is_cancelled) and time.monotonic() < deadline:
                left = max(0.0, deadline - time.monotonic())
                self.channel._process_data_events(left)  # noqa: SLF001  raises ChannelClosed
            yield self._arrived.popleft() if self._arrived else (None, None, None)

    def _subscribe(self, most: int) -> int:
        """Ask for a message for each thread that is free, up to `most`; return their number.

        A prefetch count is that of one subscription. Those of a channel add up.
        """
        busy = [key for key in self._busy.working_on(self.queue_name) if key not in self.delivered]
        free = max(0, most - len(busy))
        if free:
            self.channel.basic_qos(prefetch_count=free)
            self.channel.basic_consume(self.queue_name, self._note_delivery)
        return free

    def _note_delivery(self, _channel: object, *delivery: object) -> None:
        self._arrived.append(delivery)
