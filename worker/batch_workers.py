"""Dramatiq workers for batches, with threads separate from those of single tasks."""

from dramatiq import Broker, Worker

from tasks.step import StepKind
from worker.lane_slots import LONG_DOWNLOADS

BATCH_QUEUES = frozenset({StepKind.RUN_BATCH.value})
LANE_QUEUES = frozenset({StepKind.RUN_LANE.value})
BATCH_THREADS = 2  # a look at a batch is short, and most of it is the store's work


class BatchWorker(Worker):
    """Takes only looks at batches, so that the end of a batch never waits for a download."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, queues=set(BATCH_QUEUES), worker_threads=BATCH_THREADS)


class LaneWorker(Worker):
    """Takes only lanes, so that a batch never holds up a single task.

    There are as many slots for lanes as threads for single tasks. Further threads are for lanes
    with long downloads.
    """

    def __init__(self, broker: Broker, threads: int) -> None:
        super().__init__(broker, queues=set(LANE_QUEUES), worker_threads=threads + LONG_DOWNLOADS)
