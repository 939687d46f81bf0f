"""What our consumer does with messages, against a real RabbitMQ."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import dramatiq
import pika
import pytest
from dramatiq import Broker, Consumer, Message, MessageProxy
from dramatiq.errors import ConnectionClosed
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, NackError

from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import PATIENCE, wait_for
from settings import Settings
from tests.faults.rabbitmq import down, frozen, out_of_memory
from worker.broker import broker_availability, make_broker, relieve
from worker.consuming import ThriftyConsumer
from worker.publishing import publish_all

pytestmark = pytest.mark.services


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> Iterator[Broker]:
    made = make_broker(Settings(rabbitmq_url=rabbitmq.url), broker_availability())
    yield made
    made.close()


@pytest.fixture
def queue() -> str:
    return f"test_{uuid.uuid4().hex}"


def message_for(queue: str, actor: str, argument: str) -> Message[None]:
    return Message(queue_name=queue, actor_name=actor, args=(argument,), kwargs={}, options={})


def count(rabbitmq: RabbitMQ, queue: str) -> int:
    """Messages that wait in a queue."""
    connection = rabbitmq.connect()
    try:
        found = connection.channel().queue_declare(queue, passive=True)
        return int(found.method.message_count)
    finally:
        connection.close()


def test_ack_from_before_a_reconnect_acknowledges_no_other_message(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    broker.declare_queue(queue)
    for argument in "ab":
        broker.enqueue(message_for(queue, "actor", argument))
    before = broker.consume(queue, prefetch=1, timeout=1000)
    taken = wait_for(lambda: next(before))
    assert taken is not None
    before.connection.close()  # type: ignore[attr-defined]
    after = broker.consume(queue, prefetch=1, timeout=1000)
    wait_for(lambda: next(after))

    after.ack(taken)
    after.close()

    wait_for(lambda: count(rabbitmq, queue) == 2)


def test_garbage_and_unknown_actors_are_dropped_with_a_log_line(
    rabbitmq: RabbitMQ, broker: Broker, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    served: list[str] = []
    dramatiq.actor(actor_name="actor", queue_name=queue, broker=broker)(served.append)
    broker.declare_queue(queue, ensure=True)  # type: ignore[call-arg]
    connection = rabbitmq.connect()
    connection.channel().basic_publish("", queue, b"garbage", pika.BasicProperties())
    connection.close()
    broker.enqueue(message_for(queue, "unknown", "x"))
    broker.enqueue(message_for(queue, "actor", "served"))

    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.delay_prefetch = 1
    worker.start()
    try:
        wait_for(lambda: served == ["served"])
    finally:
        worker.stop(timeout=10_000)

    assert "undefined actor 'unknown'" in caplog.text
    assert "Failed to decode message" in caplog.text
    for name in (queue, f"{queue}.XQ"):
        assert count(rabbitmq, name) == 0


def receive(consumer: Consumer) -> MessageProxy:
    message = wait_for(lambda: next(consumer))
    assert message is not None
    return message


def take(consumer: Consumer) -> MessageProxy:
    """Return the next message, after which none comes."""
    message = receive(consumer)
    assert next(consumer) is None
    return message


def finish(broker: Broker, consumer: Consumer, message: MessageProxy) -> None:
    broker.emit_before("ack", message)
    consumer.ack(message)
    assert next(consumer) is None


def test_a_message_is_taken_instead_of_that_of_a_relieved_thread(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    broker.declare_queue(queue)
    for argument in "abcdef":
        broker.enqueue(message_for(queue, "actor", argument))
    consumer = broker.consume(queue, prefetch=1, timeout=100)
    assert isinstance(consumer, ThriftyConsumer)
    message = take(consumer)
    for _ in range(3):
        broker.emit_before("process_message", message)
        consumer.relieve(threading.current_thread())
        following = take(consumer)
        finish(broker, consumer, message)
        message = following
    consumer.close()  # type: ignore[no-untyped-call]
    wait_for(lambda: count(rabbitmq, queue) == 3)


def test_a_relieved_thread_takes_no_place_after_a_reconnect(broker: Broker, queue: str) -> None:
    broker.declare_queue(queue)
    for argument in "ab":
        broker.enqueue(message_for(queue, "actor", argument))
    before = broker.consume(queue, prefetch=1, timeout=100)
    assert isinstance(before, ThriftyConsumer)
    broker.emit_before("process_message", take(before))
    before.connection.close()
    after = broker.consume(queue, prefetch=1, timeout=100)
    assert isinstance(after, ThriftyConsumer)
    assert next(after) is None
    relieve(before, threading.current_thread())
    take(after)
    after.close()  # type: ignore[no-untyped-call]


def test_messages_are_spread_over_the_processes_evenly(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    other = make_broker(Settings(rabbitmq_url=rabbitmq.url), broker_availability())
    broker.declare_queue(queue)
    consumers = [each.consume(queue, prefetch=4, timeout=100) for each in (broker, other)]
    for consumer in consumers:
        assert next(consumer) is None
    for argument in "abcd":
        broker.enqueue(message_for(queue, "actor", argument))
    for consumer in consumers:
        receive(consumer)
        take(consumer)
    for consumer in consumers:
        consumer.close()
    other.close()


def test_ack_over_a_lost_connection_does_not_block(broker: Broker, queue: str) -> None:
    broker.declare_queue(queue)
    broker.enqueue(message_for(queue, "actor", "x"))
    consumer = broker.consume(queue, prefetch=1, timeout=1000)
    taken = wait_for(lambda: next(consumer))
    assert taken is not None
    consumer.connection.close()  # type: ignore[attr-defined]

    consumer.ack(taken)


def test_a_publish_survives_a_lost_connection_and_a_deleted_queue(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    publish_all(broker, [message_for(queue, "actor", "first")])
    connection = rabbitmq.connect()
    connection.channel().queue_delete(queue)
    connection.close()
    broker.connection.close()  # type: ignore[attr-defined]

    publish_all(broker, [message_for(queue, "actor", "second")])

    assert count(rabbitmq, queue) == 1


def test_a_thousand_messages_are_published_at_once(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    queues = [queue, f"{queue}_2"]
    messages = [message_for(queues[number % 2], "actor", f"{number}") for number in range(1000)]
    publish_all(broker, messages)
    assert [count(rabbitmq, each) for each in queues] == [500, 500]


def test_messages_of_a_deleted_queue_are_sent_again_and_no_others(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    queues = [queue, f"{queue}_2"]
    messages = [message_for(each, "actor", "x") for each in queues]
    publish_all(broker, messages)
    connection = rabbitmq.connect()
    connection.channel().queue_delete(queue)
    connection.close()

    publish_all(broker, messages * 10)

    assert [count(rabbitmq, each) for each in queues] == [10, 11]


def test_a_channel_that_the_server_has_closed_is_replaced(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    publish_all(broker, [message_for(queue, "actor", "first")])
    publisher = broker.state.publisher  # type: ignore[attr-defined]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        publisher._channel.queue_declare("missing", passive=True)

    publish_all(broker, [message_for(queue, "actor", "second")] * 5)

    assert count(rabbitmq, queue) == 6


def test_a_message_that_is_refused_is_an_error_and_not_repeated(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    publish_all(broker, [message_for(queue, "actor", "first")])
    policy = '{"max-length":1,"overflow":"reject-publish"}'
    rabbitmq.control("set_policy", "full", f"^{queue}$", policy, "--apply-to", "queues")
    try:
        with pytest.raises(NackError):
            publish_all(broker, [message_for(each, "actor", "x") for each in (queue, f"{queue}_2")])
    finally:
        rabbitmq.control("clear_policy", "full")
    assert [count(rabbitmq, queue), count(rabbitmq, f"{queue}_2")] == [1, 1]


@pytest.mark.parametrize("fault", [down, out_of_memory])
def test_a_server_that_takes_nothing_is_an_error(
    fault: Callable[[RabbitMQ], AbstractContextManager[None]],
    rabbitmq: RabbitMQ,
    broker: Broker,
    queue: str,
) -> None:
    publish_all(broker, [message_for(queue, "actor", "first")])
    with fault(rabbitmq), pytest.raises((AMQPError, AMQPConnectorException)):
        publish_all(broker, [message_for(queue, "actor", "second")] * 100)
    wait_for(lambda: count(rabbitmq, queue))
    publish_all(broker, [message_for(queue, "actor", "third")])


def test_closing_does_not_wait_for_a_frozen_server(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    broker.declare_queue(queue)
    consumer = broker.consume(queue, prefetch=1, timeout=1000)
    next(consumer)
    closing = threading.Thread(target=consumer.close, daemon=True)
    with frozen(rabbitmq):
        closing.start()
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_a_frozen_server_is_no_unexpected_error(rabbitmq: RabbitMQ, queue: str) -> None:
    broker = make_broker(
        Settings(rabbitmq_url=f"{rabbitmq.url}?stack_timeout=1"), broker_availability()
    )
    broker.declare_queue(queue)
    with frozen(rabbitmq), pytest.raises(ConnectionClosed):
        broker.consume(queue)
