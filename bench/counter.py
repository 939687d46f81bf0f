"""Counts a process's messages: `dramatiq actors bench.counter`.

A process may have several workers. Each reports the total of the process when it stops.
"""

import logging
import os
from itertools import count

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware, Worker

_log = logging.getLogger(__name__)


class Counter(Middleware):
    """Reports how many messages this process has taken."""

    def __init__(self) -> None:
        self._numbers = count()  # atomic, unlike +=
        self._reports = count()  # each of which has used a number, too

    def before_process_message(self, _broker: Broker, _message: MessageProxy) -> None:
        next(self._numbers)

    def after_worker_shutdown(self, _broker: Broker, _worker: Worker) -> None:
        messages = next(self._numbers) - next(self._reports)
        _log.warning("process=%d messages=%d", os.getpid(), messages)


dramatiq.get_broker().add_middleware(Counter())
