"""Many tasks for a long time, and many sweepers: no task gets more messages than it needs."""

import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pymongo
import pytest
from dramatiq import Broker, Message

from devtools.servers.mongod import Mongod
from devtools.servers.process import PROJECT
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from settings import Settings
from tasks.step import StepKind
from tasks.stores.document import to_document
from tasks.stores.mongodb import MongoStore
from tasks.task import Task
from tests.examples import make_task
from worker.broker import broker_availability, count_waiting, make_broker
from worker.publisher import Dispatcher, published_at
from worker.sweeper import Sweeper

pytestmark = pytest.mark.services

HOURS = 3  # long enough for the longest pause between two looks at a task
QUEUE = StepKind.COMPUTE_MD5.value


class LateStore(MongoStore):
    """A store whose time a test moves on."""

    offset = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.offset


@pytest.fixture
def url(mongod: Mongod) -> str:
    return mongod.database_url(f"backlog_{uuid.uuid4().hex}")


@pytest.fixture
def store(url: str) -> Iterator[LateStore]:
    opened = LateStore.connect(url)
    yield opened
    opened.close()


def insert_all(url: str, tasks: list[Task]) -> None:
    with pymongo.MongoClient[dict[str, object]](url) as client:
        client.get_default_database()["tasks"].insert_many(map(to_document, tasks))


@dataclass
class Queue:
    """A queue and how many tasks wait in it; `consume` takes messages out as workers do."""

    url: str | None
    length: int
    consume: Callable[[Broker, int], list[Message[None]]]


def consume_from_rabbitmq(rabbitmq: RabbitMQ, count: int) -> list[Message[None]]:
    connection = rabbitmq.connect()
    channel = connection.channel()
    bodies = [channel.basic_get(QUEUE, auto_ack=True)[2] for _ in range(count)]
    connection.close()
    return [Message.decode(body) for body in bodies]


def consume_in_process(broker: Broker, count: int) -> list[Message[None]]:
    return [Message.decode(broker.queues[QUEUE].get()) for _ in range(count)]


@pytest.fixture(params=["in-process", "rabbitmq"])
def queue(request: pytest.FixtureRequest) -> Queue:
    if request.param == "in-process":
        return Queue(None, 20_000, consume_in_process)
    rabbitmq = request.getfixturevalue("rabbitmq")
    rabbitmq.purge()
    # RabbitMQ confirms each message when it is on the disk: fewer will do here.
    return Queue(rabbitmq.url, 2_000, lambda _, count: consume_from_rabbitmq(rabbitmq, count))


def test_a_long_backlog_breeds_no_copies(queue: Queue, url: str, store: LateStore) -> None:
    settings = Settings(rabbitmq_url=queue.url)
    broker = make_broker(settings, broker_availability())
    broker.declare_queue(QUEUE)
    dispatcher = Dispatcher(broker, store, broker_availability())
    sweeper = Sweeper(store, dispatcher, Settings(rabbitmq_url="amqp://not-a-fresh-start"))
    tasks = [make_task(now=store.now()) for _ in range(queue.length)]
    insert_all(url, tasks)
    last = dispatcher.dispatch(tasks)
    dispatcher.start()
    consumed = 0
    try:
        wait_for(lambda: dispatcher.has_handled(last), 60)
        for _ in range(HOURS * 6):
            store.offset += timedelta(minutes=10)
            # A few are taken up meanwhile, and are at work for all of the time.
            for message in queue.consume(broker, 10):
                consumed += 1
                dispatcher.record_consumed(StepKind.COMPUTE_MD5, published_at(message))
                task = store.get(message.args[0])
                assert task is not None
                assert store.save(task.claimed(store.now(), timedelta(days=1)))
            while sweeper.sweep():
                wait_for(lambda: dispatcher.has_handled(sweeper._last_dispatched), 60)
        messages = consumed + count_waiting(broker, QUEUE)
        assert queue.length <= messages <= queue.length * 1.05
    finally:
        dispatcher.stop()
        broker.close()


SWEEP = """
import sys
from datetime import timedelta
from tasks.stores.mongodb import MongoStore

store = MongoStore.connect(sys.argv[1])
sys.stdin.readline()
for _ in range(40):
    for task in store.take_due(store.now(), store.now() + timedelta(minutes=10), 50):
        print(task.id)
"""


def test_each_due_task_goes_to_one_of_eight_sweeping_processes(url: str, store: LateStore) -> None:
    due = [replace(make_task(), wake_at=store.now()) for _ in range(1000)]
    insert_all(url, due)
    sweepers = [
        subprocess.Popen(
            [sys.executable, "-c", SWEEP, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for _ in range(8)
    ]
    for sweeper in sweepers:
        assert sweeper.stdin is not None
        sweeper.stdin.write("go\n")
        sweeper.stdin.flush()
    taken = [line for sweeper in sweepers for line in sweeper.communicate(timeout=60)[0].split()]
    assert Counter(taken) == Counter(task.id for task in due)
