"""How often a client that waits for a task should check it."""

from datetime import datetime, timedelta

from tasks.task import Task

# A tenth of the time that the task has taken so far, by which a client learns its end late.
SHARE = 10
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(seconds=5)
# A refresh may move the reader back to the top, so it is frequent only while the task is new.
NEW = timedelta(seconds=5)
REFRESH = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=1)  # while the next attempt is not due


def advise_pause(task: Task, now: datetime) -> int:
    """Return the whole seconds after which a client should check an unfinished task again."""
    pause = min(max((now - task.submitted_at) / SHARE, SHORTEST), LONGEST)
    if task.retry_at is not None:
        pause = max(pause, min(task.retry_at - now, LONGEST_PAUSE))
    return round(pause.total_seconds())


def advise_refresh(task: Task, now: datetime) -> int:
    """Return the whole seconds after which the page about an unfinished task refreshes itself."""
    pause = advise_pause(task, now)
    is_new = now - task.submitted_at < NEW
    return pause if is_new else max(pause, round(REFRESH.total_seconds()))
