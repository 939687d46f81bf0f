"""The log: one line a record, as text or as JSON, with the task that it is about.

Whatever is logged, also by a library or in a trace, loses the query strings and passwords of URLs.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

current_task: ContextVar[str | None] = ContextVar("current_task", default=None)

# `url: ` is how urllib3 names a path that it could not get.
_QUERY = re.compile(r"((?:\b[a-z][a-z0-9+.-]*://|url: )[^\s?'\"<>]*\?)[^\s'\"<>]+", re.IGNORECASE)
_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"]*@", re.IGNORECASE)


@contextmanager
def about(task_id: str) -> Iterator[None]:
    """What this thread logs meanwhile is about one task."""
    token = current_task.set(task_id)
    try:
        yield
    finally:
        current_task.reset(token)


def set_up(form: str) -> None:
    """Let every logger of this process write in one form to where it writes, or to stderr.

    A worker of `dramatiq actors` has a handler by then, which leads to its master.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if not root.handlers:
        root.addHandler(logging.StreamHandler(sys.stderr))
    for handler in root.handlers:
        handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())


class TextFormatter(logging.Formatter):
    """Time, process, level and logger; the task at the line's end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [PID %(process)d] %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        line, task_id = super().formatMessage(record), current_task.get()
        return f"{line} task={task_id}" if task_id else line

    def format(self, record: logging.LogRecord) -> str:
        return _cut(super().format(record))


class JSONFormatter(logging.Formatter):
    """An object a line: time, level, logger, pid, message; task_id and exception if there are."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": _cut(record.getMessage()),
        }
        if task_id := current_task.get():
            line["task_id"] = task_id
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        return json.dumps(line)


def _cut(text: str) -> str:
    return _PASSWORD.sub(r"\1…@", _QUERY.sub(r"\1…", text))
