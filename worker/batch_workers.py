"""Dramatiq workers for batches, with threads separate from those of single tasks."""

import threading

from dramatiq import Broker, Worker
from dramatiq.worker import WorkerThread

from tasks.step import StepKind
from worker.broker import relieve

BATCH_QUEUES = frozenset({StepKind.RUN_BATCH.value})
LANE_QUEUES = frozenset({StepKind.RUN_LANE.value})
BATCH_THREADS = 2  # a look at a batch is short, and most of it is the store's work
LONG_DOWNLOADS = 64  # a process continues up to this many, beside its threads for lanes


class BatchWorker(Worker):
    """Takes only looks at batches, so that the end of a batch never waits for a download."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, queues=set(BATCH_QUEUES), worker_threads=BATCH_THREADS)


class LaneWorker(Worker):
    """Takes only lanes, so that a batch never holds up a single task.

    Set `worker_threads` before it starts: as many threads take lanes. One with a long download is
    relieved by a new one, so that slow hosts do not hold up the others.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, queues=set(LANE_QUEUES))
        self._relieved: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def relieve(self, thread: threading.Thread) -> None:
        """Start a thread that takes the next lanes instead of this one, which ends after its lane.

        Nothing happens if it has been relieved, if too many have been, if it is another worker's,
        or if the machine allows no more threads.
        """
        with self._lock:
            if thread in self._relieved or len(self._relieved) >= LONG_DOWNLOADS:
                return
            if not isinstance(thread, WorkerThread) or thread not in self.workers:
                return
            try:
                self._add_worker()
            except RuntimeError:  # the machine allows no more threads
                return
            thread.stop()
            self._relieved.add(thread)
            relieve(self.consumers[StepKind.RUN_LANE].consumer, thread)

    def forget(self, thread: threading.Thread) -> None:
        """Note that a thread ends. It need not have been relieved, nor be of this worker."""
        with self._lock:
            if thread in self._relieved:
                self._relieved.remove(thread)
                self.workers = [each for each in self.workers if each is not thread]
