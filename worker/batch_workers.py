"""A Dramatiq worker for lanes, with threads separate from those of single tasks."""

from dramatiq import Broker, Worker

from tasks.step import StepKind

LANE_QUEUES = frozenset({StepKind.RUN_LANE.value})


class LaneWorker(Worker):
    """Takes only lanes, so that a batch never holds up a single task.

    It has as many threads as the worker of single tasks.
    """

    def __init__(self, broker: Broker, threads: int) -> None:
        super().__init__(broker, queues=set(LANE_QUEUES), worker_threads=threads)
