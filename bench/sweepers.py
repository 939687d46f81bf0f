"""The sweepers of many worker processes on one store, which has nothing for them to do."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, cast

from bench.lab import Lab
from bench.rows import Row
from settings import Settings
from tasks.stores.mongodb import MongoStore
from tasks.task import Task
from worker.publisher import Dispatcher
from worker.sweeper import Sweeper

COUNTS = (1, 10, 50)
SECONDS = 10.0
WINDOWS = 2  # MongoDB counts what others ask as well, so the lower one counts
COMMANDS = ("query", "command", "update", "getmore")


class _NoMessages:
    """In the place of a dispatcher: nothing is due."""

    is_broker_down = False

    def has_handled(self, _number: int) -> bool:
        return True

    def dispatch(self, tasks: Iterable[Task]) -> int:
        assert not list(tasks)
        return 0


def measure(lab: Lab) -> Iterator[Row]:
    """What MongoDB is asked, by its own count."""
    rates = [_operations(lab, count) for count in COUNTS]
    for count, rate in zip(COUNTS, rates, strict=True):
        yield Row(
            name=f"{count} idle sweepers, operations of MongoDB",
            unit="1/s",
            ours=[rate],
            rival_name=f"{count} times that of one",
            rival=[count * rates[0]],
        )


def _operations(lab: Lab, count: int) -> float:
    settings = Settings.from_env(lab.environ)
    with lab.tasks() as (_, urls), ExitStack() as started:
        for _ in range(count):
            store = MongoStore.connect(urls["MONGODB_URL"])
            started.callback(store.close)
            sweeper = Sweeper(store, cast("Dispatcher", _NoMessages()), settings)
            sweeper.start()
            started.callback(sweeper.stop)
        time.sleep(1)  # they connect, and make the indexes
        return min(_rate(lab) for _ in range(WINDOWS))


def _rate(lab: Lab) -> float:
    began, before = time.monotonic(), _count(lab)
    time.sleep(SECONDS)
    return (_count(lab) - before) / (time.monotonic() - began)


def _count(lab: Lab) -> int:
    counters: dict[str, Any] = lab.mongod.command("serverStatus")["opcounters"]
    return sum(int(counters[name]) for name in COMMANDS)
