"""How often a client that waits for a task is to ask."""

from datetime import datetime, timedelta

from tasks.task import Task

# A tenth of the time that the task has taken so far: its end is learnt so much late, at the most.
SHARE = 10
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=1)  # while the next attempt is not due


def advise_pause(task: Task, now: datetime) -> int:
    """Whole seconds after which asking about an unfinished task again may tell something new."""
    pause = min(max((now - task.submitted_at) / SHARE, SHORTEST), LONGEST)
    if task.retry_at is not None:
        pause = max(pause, min(task.retry_at - now, LONGEST_PAUSE))
    return round(pause.total_seconds())
