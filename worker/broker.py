"""Makes the broker; nothing else knows whether it is RabbitMQ or in-process."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dramatiq import Broker, Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from settings import Settings
from tasks.step import StepKind
from telemetry.availability import Availability
from telemetry.heartbeat import Beat, no_beat
from worker.consuming import BusyThreads, ThriftyConsumer

# So that a server which is gone is noticed within seconds; the URL's own parameters go first.
CONNECTION_PARAMETERS = {
    "heartbeat": "10",
    "blocked_connection_timeout": "5",
    "connection_attempts": "1",
    "socket_timeout": "5",
    "stack_timeout": "10",
}

REFUSALS = {403, 530}  # AMQP's codes for a missing right, and for a missing virtual host
REMEDY = (
    "Check the user, the password, the virtual host and the user's permissions in RABBITMQ_URL"
    " (with Docker Compose: RABBITMQ_PASSWORD; see Passwords in docs/operations.md)"
)
# No queue has this name: RabbitMQ confirms such a message, and drops it.
PING_QUEUE = "md5_light.ping"

CLOSE_SECONDS = 1.0  # for each of the connections that a worker closes when it stops

_log = logging.getLogger(__name__)


class _Consumer(ThriftyConsumer):
    """Acknowledges what it has delivered itself, and leaves no message in a dead-letter queue.

    After a reconnect delivery tags begin at 1 again, so an actor that began before it would
    acknowledge a message of another consumer.
    """

    def __init__(self, *args: Any, availability: Availability, beat: Beat, **options: Any) -> None:
        super().__init__(*args, **options)
        self._availability = availability
        self._beat = beat

    def __next__(self) -> MessageProxy | None:
        self._beat(_loop_of(self.queue_name))
        try:
            return super().__next__()
        except ConnectionClosed as error:
            report_failure(self._availability, error)
            raise

    def ack(self, message: MessageProxy) -> None:
        if self.delivered.pop(id(message), None) is not None:
            with suppress(ConnectionClosed):  # RabbitMQ delivers the message again
                super().ack(message)

    def nack(self, message: MessageProxy) -> None:
        """Drop a message for no actor of ours; keep one that a stopping worker could not serve.

        RabbitMQ gives the latter to another worker when this one's connection is closed.
        """
        if message.actor_name not in self.broker.actors:
            self.ack(message)

    def _nack(self, tag: int) -> None:
        """Drop what is no message at all; dramatiq has logged it."""
        self.connection.add_callback_threadsafe(partial(self.channel.basic_ack, tag))

    def close(self) -> None:
        _close_soon(super().close)


class _Broker(RabbitmqBroker):
    def __init__(self, url: str, availability: Availability, beat: Beat) -> None:
        self._beat = beat
        self._busy = BusyThreads()
        self._availability = availability
        super().__init__(url=url, confirm_delivery=True, middleware=[self._busy])

    @property
    def consumer_class(self) -> Callable[..., _Consumer]:
        return partial(_Consumer, busy=self._busy, availability=self._availability, beat=self._beat)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        self._beat(_loop_of(queue_name))
        try:
            consumer = super().consume(queue_name, prefetch, timeout)
        except (AMQPConnectorException, ConnectionClosed) as error:
            report_failure(self._availability, error)
            raise ConnectionClosed(error) from None  # the former is of pika, but no AMQPError
        finally:
            disconnect(self)  # dramatiq has declared the queue over it, and leaves it idle
        self._availability.succeeded()
        return consumer

    def close(self) -> None:
        _close_soon(super().close)


def _loop_of(queue_name: str) -> str:
    return f"consumer of {queue_name}"


def _close_soon(close: Callable[[], None]) -> None:
    """Say goodbye, but do not wait long for a server that does not answer."""

    def run() -> None:
        try:
            close()
        except Exception:  # noqa: BLE001  the edge: this process has done with the connections
            _log.debug("a connection was not closed properly", exc_info=True)

    thread = threading.Thread(target=run, name="goodbye", daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)


def broker_availability() -> Availability:
    """Return what a process shares between its broker and its dispatcher."""
    return Availability("the broker", logging.getLogger(__name__))


def make_broker(settings: Settings, availability: Availability, beat: Beat = no_beat) -> Broker:
    """Return a broker that retries and delays nothing: the sweeper does that.

    It connects when it is first used. RabbitMQ confirms each message, or `enqueue` raises. What is
    found out about the server is reported to `availability`.
    """
    broker: Broker
    if settings.rabbitmq_url is None:
        broker = StubBroker(middleware=[])
    else:
        _mute_reconnects()
        broker = _Broker(_with_defaults(settings.rabbitmq_url), availability, beat)
    broker.logger.addFilter(_is_unexpected)
    return broker


def _mute_reconnects() -> None:
    """Keep pika and dramatiq from logging what `Availability` logs in one line."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    for name in (*StepKind, *map(dq_name, StepKind)):
        consumer = logging.getLogger(f"dramatiq.worker.ConsumerThread({name})")
        consumer.addFilter(_is_not_reconnect_noise)


def _is_not_reconnect_noise(record: logging.LogRecord) -> bool:
    """Return False for what dramatiq's consumer threads repeat every few seconds of an outage."""
    return not record.msg.startswith(("Consumer encountered a connection", "Restarting consumer"))


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Return False for dramatiq's warning about a second worker, which is here for the mails."""
    return "_WorkerMiddleware" not in record.getMessage()


def ping(broker: Broker) -> None:
    """Publish a test message over this thread's connection, which also keeps the connection alive.

    It goes to a queue that does not exist, so RabbitMQ drops it. It fails where the message of a
    task would fail: without the permission, or while the server accepts nothing.
    Raises AMQPError and the other errors of pika.
    """
    if isinstance(broker, RabbitmqBroker):
        with fresh_after_failure(broker):
            for kind in StepKind:
                broker.declare_queue(kind.value, ensure=True)
            broker.channel.basic_publish("", PING_QUEUE, b"")


def count_waiting(broker: Broker, queue: str) -> int:
    """Return how many messages of a queue no worker has taken yet. Raises the errors of pika."""
    if isinstance(broker, StubBroker):
        return int(broker.queues[queue].qsize())
    assert isinstance(broker, RabbitmqBroker)
    with fresh_after_failure(broker):
        waiting, _delayed, _dead = broker.get_queue_message_counts(queue)
        return int(waiting)


def relieve(consumer: Consumer | None, thread: threading.Thread) -> None:
    """Let a consumer take a message for another thread, while this one is working on one."""
    if isinstance(consumer, ThriftyConsumer):
        with suppress(AMQPError):  # it reconnects, and takes the message then
            consumer.relieve(thread)


@contextmanager
def fresh_after_failure(broker: RabbitmqBroker) -> Iterator[None]:
    """The next use of this thread's connection shall not meet one that is broken."""
    try:
        yield
    except Exception:
        del broker.connection
        raise


def report_failure(availability: Availability, error: Exception) -> None:
    """Report that a call failed, and why."""
    reply = _reply_of(error)
    is_refusal = reply is not None and reply[0] in REFUSALS
    availability.failed(describe(error), remedy=REMEDY if is_refusal else None)


def describe(error: Exception) -> str:
    """What went wrong, in a few words, though pika wraps it three exceptions deep."""
    reply = _reply_of(error)
    return type(_cause_of(error)).__name__ if reply is None else f"{reply[0]} {reply[1]}"


def _reply_of(error: Exception) -> tuple[int, str] | None:
    """RabbitMQ's code and text in an error, if it has given a reason."""
    cause = _cause_of(error)
    if isinstance(cause, ChannelClosed | ConnectionClosedByBroker):
        return cause.reply_code, cause.reply_text.rstrip(".")
    if isinstance(cause, ProbableAuthenticationError | ProbableAccessDeniedError):
        # These carry the repr of another error.
        match = re.search(r"""\((\d+)\) (['"])(.*?)\.?\2""", str(cause.args[0]))
        return (int(match[1]), match[3]) if match else None
    return None


def _cause_of(error: BaseException) -> BaseException:
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    return error


def disconnect(broker: Broker) -> None:
    """Close this thread's connection."""
    if isinstance(broker, RabbitmqBroker):
        del broker.connection


def _with_defaults(url: str) -> str:
    parts = urlsplit(url)
    query = {**CONNECTION_PARAMETERS, **dict(parse_qsl(parts.query))}
    return urlunsplit(parts._replace(query=urlencode(query)))
