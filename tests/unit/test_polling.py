from dataclasses import replace
from datetime import timedelta

import pytest

from service.polling import advise_pause, advise_refresh
from tasks.outcome import RetryLater
from tests.examples import FAILURE, LEASE, NOW, RETENTION, make_task

RUNNING = make_task().claimed(NOW, LEASE)


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(-5, 1), (0, 1), (10, 1), (14, 1), (16, 2), (30, 3), (49, 5), (100_000, 5)],
)
def test_older_tasks_are_asked_about_less_often(age: float, seconds: int) -> None:
    assert advise_pause(RUNNING, NOW + timedelta(seconds=age)) == seconds


@pytest.mark.parametrize(
    ("age", "seconds"), [(-5, 1), (0, 1), (4.9, 1), (5, 5), (49, 5), (100_000, 5)]
)
def test_the_page_about_a_task_stays_for_a_while_unless_it_is_new(age: float, seconds: int) -> None:
    assert advise_refresh(RUNNING, NOW + timedelta(seconds=age)) == seconds


@pytest.mark.parametrize(
    ("pause", "seconds"), [(0.2, 1), (1, 1), (30, 30), (59.6, 60), (3600, 60), (-5, 1)]
)
def test_nothing_happens_before_the_next_attempt(pause: float, seconds: int) -> None:
    waiting = RUNNING.ended(RetryLater(timedelta(seconds=pause), FAILURE), NOW, retention=RETENTION)
    assert advise_pause(waiting, NOW) == seconds


def test_an_attempt_that_is_due_soon_changes_nothing_for_an_old_task() -> None:
    old = replace(RUNNING, submitted_at=NOW - timedelta(hours=1))
    assert (
        advise_pause(
            old.ended(RetryLater(timedelta(seconds=2), FAILURE), NOW, retention=RETENTION), NOW
        )
        == 5
    )
