"""Counts a worker's messages: `dramatiq actors bench.counter`, on the way out a line for each."""

import logging
from itertools import count

import dramatiq
from dramatiq import Broker, MessageProxy, Middleware, Worker

_log = logging.getLogger(__name__)


class Counter(Middleware):
    """Says at the end how many messages this process has taken."""

    def __init__(self) -> None:
        self._numbers = count()  # atomic, unlike +=

    def before_process_message(self, _broker: Broker, _message: MessageProxy) -> None:
        next(self._numbers)

    def after_worker_shutdown(self, _broker: Broker, _worker: Worker) -> None:
        _log.warning("messages=%d", next(self._numbers))


dramatiq.get_broker().add_middleware(Counter())
