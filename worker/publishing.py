"""Sends many messages to the broker, and waits once for all of them."""

from collections.abc import Sequence
from typing import Any

from dramatiq import Broker, Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika import BasicProperties, BlockingConnection
from pika.exceptions import (
    AMQPChannelError,
    AMQPConnectionError,
    ChannelWrongStateError,
    NackError,
    UnroutableError,
)
from pika.frame import Method
from pika.spec import Basic

from worker.broker import fresh_after_failure

# Over the connection at hand, over a new one, and to queues that have been declared again. More
# would only keep the dispatcher from reporting that the broker is unreachable.
MAX_ATTEMPTS = 3

Messages = Sequence[Message[Any]]


def publish_all(broker: Broker, messages: Messages) -> None:
    """Send messages; return when RabbitMQ has them in their queues, and on its disk.

    After an error some may have been sent, but all of them count as not sent. Raises AMQPError,
    such as UnroutableError for queues that vanish again and again, or NackError for a queue that is
    full, and other errors of pika and dramatiq.
    """
    if not isinstance(broker, RabbitmqBroker):
        for message in messages:
            broker.enqueue(message)
        return
    left = messages
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with fresh_after_failure(broker):
                left = _publish(broker, left)
        except NackError:
            raise
        except (AMQPConnectionError, AMQPChannelError):
            if attempt == MAX_ATTEMPTS:
                raise
            continue
        if not left:
            return
        broker.queues_pending |= {message.queue_name for message in left}
    raise UnroutableError([])


def _publish(broker: RabbitmqBroker, messages: Messages) -> Messages:
    """Send messages, and return those whose queue does not exist."""
    for queue in {message.queue_name for message in messages}:
        broker.declare_queue(queue, ensure=True)
    publisher = getattr(broker.state, "publisher", None)
    if publisher is None or not publisher.is_usable_on(broker.connection):
        publisher = broker.state.publisher = _Publisher(broker.connection)
    returned: Messages = publisher.publish(messages)
    return returned


class _Publisher:
    """A channel with confirms, on the connection of a thread.

    pika's own waits for the confirm of each message before it sends the next one, and RabbitMQ
    writes to the disk before it confirms. This one waits once, for the confirms of all messages.
    """

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._impl = self._channel._impl  # noqa: SLF001  the channel below the blocking one
        self._impl.add_on_return_callback(self._note_return)
        self._impl.confirm_delivery(self._note_confirm)
        self._sent = 0  # the delivery tag of the last message
        self._unconfirmed: set[int] = set()
        self._returned: list[int] = []
        self._is_refused = False

    def is_usable_on(self, connection: BlockingConnection) -> bool:
        return connection is self._connection and bool(self._channel.is_open)

    def publish(self, messages: Messages) -> Messages:
        """Send messages, wait for their confirms, and return those whose queue does not exist."""
        self._returned.clear()
        for number, message in enumerate(messages):
            self._sent += 1
            self._unconfirmed.add(self._sent)
            self._impl.basic_publish(
                exchange="",
                routing_key=message.queue_name,
                body=message.encode(),
                properties=BasicProperties(delivery_mode=2, message_id=str(number)),
                mandatory=True,
            )
        self._channel._flush_output(lambda: not self._unconfirmed)  # noqa: SLF001  raises when it is closed
        if self._is_refused:
            raise NackError([])
        if self._unconfirmed:  # this process has closed the connection
            raise ChannelWrongStateError
        return [messages[number] for number in self._returned]

    def _note_return(
        self, _channel: object, _method: object, properties: BasicProperties, _body: bytes
    ) -> None:
        """Note a message whose queue does not exist. It is confirmed afterwards."""
        self._returned.append(int(properties.message_id))

    def _note_confirm(self, frame: Method) -> None:
        tag = frame.method.delivery_tag
        confirmed = range(min(self._unconfirmed, default=tag), tag + 1)
        self._unconfirmed.difference_update(confirmed if frame.method.multiple else (tag,))
        self._is_refused = self._is_refused or isinstance(frame.method, Basic.Nack)
