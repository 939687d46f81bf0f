"""Dramatiq workers for batches, with threads separate from those of single tasks."""

from dramatiq import Broker, Worker

from tasks.step import QUEUES, StepKind

BATCH_QUEUES = frozenset({StepKind.RUN_BATCH.value})
LANE_QUEUES = frozenset({queue for queue, kind in QUEUES.items() if kind is StepKind.RUN_LANE})
BATCH_THREADS = 2  # a look at a batch is short, and most of it is the store's work


class BatchWorker(Worker):
    """Takes only looks at batches, so that the end of a batch never waits for a download."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, queues=set(BATCH_QUEUES), worker_threads=BATCH_THREADS)


class LaneWorker(Worker):
    """Takes only lanes of one queue, so that a batch never holds up a single task.

    It has as many threads as the worker of single tasks. One worker takes the slow lanes, and
    another one takes the rest, so that these do not wait for slow hosts.
    """

    def __init__(self, broker: Broker, queue: str, threads: int) -> None:
        super().__init__(broker, queues={queue}, worker_threads=threads)
