"""How long an idle system takes from a submit to the answer that has the digest."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pymongo import WriteConcern

from bench import drain
from bench.lab import Lab, Tasks
from bench.rows import Row, percentile
from devtools.servers.process import Process
from devtools.servers.system import Service

Runs = Sequence[Sequence[float]]  # milliseconds

TASKS = 100
RUNS = 3
PATIENCE_SECONDS = 60


def measure(lab: Lab) -> Iterator[Row]:
    """1 KiB: embedded, then over RabbitMQ and MongoDB with one worker process."""
    url = lab.nginx.http + lab.nginx.add(1024)
    with lab.service() as service:
        yield from _rows("embedded", _ask_often(service, url), [])
    with lab.tasks() as (tasks, settings):
        with _workers(lab, drain.BARE_SESSION, settings):
            bare = _insert_and_look(tasks, settings["RABBITMQ_URL"], url)
        with _workers(lab, drain.OURS, settings), lab.service(**settings) as service:
            yield from _rows("distributed", _ask_often(service, url), bare)


def _workers(
    lab: Lab, contestant: drain.Contestant, settings: Mapping[str, str]
) -> AbstractContextManager[Process]:
    command = ("-m", "dramatiq", contestant.module, "-p", "1", "-t", "8")
    return lab.program(*command, settings={**settings, **contestant.settings})


def _rows(deployment: str, ours: Runs, bare: Runs) -> Iterator[Row]:
    for name, percent in (("median", 50), ("p99", 99)):
        yield Row(
            name=f"1 KiB, submit to done, idle, {deployment}, {name}",
            unit="ms",
            ours=[percentile(run, percent) for run in ours],
            rival_name="bare, kept Session, without HTTP" if bare else "",
            rival=[percentile(run, percent) for run in bare],
        )


def _ask_often(service: Service, url: str) -> Runs:
    connection = HTTPConnection(urlsplit(service.base).netloc, timeout=PATIENCE_SECONDS)
    return _repeat(lambda: submit_and_poll(connection, url))


def _insert_and_look(tasks: Tasks, rabbitmq_url: str, url: str) -> Runs:
    """Do without a service what it does: insert, publish, and look again and again."""
    broker = RabbitmqBroker(url=rabbitmq_url, middleware=[])
    durable = tasks.with_options(write_concern=WriteConcern(w="majority", j=True))
    queue = drain.BARE.queue
    broker.declare_queue(queue, ensure=True)

    def run() -> float:
        began = time.perf_counter()
        task_id = str(uuid.uuid4())
        durable.insert_one({"_id": task_id, "url": url, "status": "queued"})
        message = Message[None](
            queue_name=queue, actor_name=queue, args=(task_id,), kwargs={}, options={}
        )
        broker.enqueue(message)
        while not durable.find_one({"_id": task_id, "status": "done"}):
            assert time.perf_counter() - began < PATIENCE_SECONDS
        return 1000 * (time.perf_counter() - began)

    runs = _repeat(run)
    broker.close()
    return runs


def _repeat(run: Callable[[], float]) -> Runs:
    run()  # opens connections and imports modules
    return [[run() for _ in range(TASKS)] for _ in range(RUNS)]


def submit_and_poll(connection: HTTPConnection, url: str, email: str | None = None) -> float:
    """Return the milliseconds until the task is done and, if it has an email, the mail is sent."""
    began = time.perf_counter()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = {"url": url} if email is None else {"url": url, "email": email}
    answer = _ask(connection, "POST", "/submit", urlencode(form), headers)
    path = f"/check?id={answer['id']}"
    while (answer := _ask(connection, "GET", path)).get("status") == "running" or (
        email and answer.get("mail_status") != "sent"
    ):
        assert time.perf_counter() - began < PATIENCE_SECONDS
    assert answer["status"] == "done", answer
    return 1000 * (time.perf_counter() - began)


def _ask(connection: HTTPConnection, *request: object) -> dict[str, str]:
    connection.request(*request)  # type: ignore[arg-type]
    answer: dict[str, str] = json.loads(connection.getresponse().read())
    return answer
