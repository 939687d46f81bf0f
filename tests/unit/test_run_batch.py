from datetime import timedelta

import pytest

from tasks.batch import Tally
from worker.steps.run_batch import pause_after


@pytest.mark.parametrize(
    ("ended", "total", "age", "pause"),
    [
        (0, 10, 0.1, 1),
        (5, 10, 10, 1),
        (0, 10_000, 1, 60),
        (0, 100, 1, 1),
        (5_000, 10_000, 5, 10),
        (10, 1000, 60, 60),
        (500, 1000, 1000, 20),
        (1, 1_000_000, 1, 60),
    ],
)
def test_large_and_slow_batches_are_looked_at_less_often(
    ended: int, total: int, age: float, pause: float
) -> None:
    tally = Tally(done=ended)
    assert pause_after(tally, total, timedelta(seconds=age)) == timedelta(seconds=pause)
