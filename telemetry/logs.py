"""The log: one line a record, as text or as JSON, with the task that it is about.

Query strings and passwords of URLs are removed from every message and trace, also from those of
libraries. Lines have a bounded length.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

current_task: ContextVar[str | None] = ContextVar("current_task", default=None)

# `url: ` is how urllib3 names a path that it could not get. Schemes are bounded, and a match takes
# the whole path, so that both patterns are linear in whatever a stranger gets into the log.
_SCHEME = r"\b[a-z][a-z0-9+.-]{0,30}://"
_URL = re.compile(rf"((?:{_SCHEME}|url: )[^\s?'\"<>]*+)(\?[^\s'\"<>]+)?", re.IGNORECASE)
_PASSWORD = re.compile(rf"({_SCHEME})[^\s/?#'\"]*@", re.IGNORECASE)

MAX_CHARS = 8192  # of a line of text, or of a field of JSON
_TAIL_CHARS = 2048  # of these, kept of the end, where a trace names its cause
_MAX_FRAMES = 20  # of a trace, the innermost ones


@contextmanager
def task_context(task_id: str) -> Iterator[None]:
    """Within the block, what this thread logs is about one task."""
    token = current_task.set(task_id)
    try:
        yield
    finally:
        current_task.reset(token)


def set_up(form: str) -> None:
    """Let every logger of this process write in one form to where it writes, or to stderr.

    Warnings of Python are logged like all else. A worker of `dramatiq actors` already has a
    handler, which leads to its master.
    """
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if not root.handlers:
        root.addHandler(logging.StreamHandler(sys.stderr))
    for handler in root.handlers:
        handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())


class _BoundedFormatter(logging.Formatter):
    """Limits the depth of traces."""

    def formatException(  # noqa: N802  logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return "".join(traceback.format_exception(*ei, limit=-_MAX_FRAMES)).rstrip("\n")


class TextFormatter(_BoundedFormatter):
    """Time, process, level and logger; the task at the line's end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [PID %(process)d] %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        line, task_id = super().formatMessage(record), current_task.get()
        return f"{line} task={task_id}" if task_id else line

    def format(self, record: logging.LogRecord) -> str:
        return _clean(super().format(record))


class JSONFormatter(_BoundedFormatter):
    """An object a line: time, level, logger, pid, message; task_id and exception if there are."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": _clean(record.getMessage()),
        }
        if task_id := current_task.get():
            line["task_id"] = task_id
        if record.exc_info:
            line["exception"] = _clean(self.formatException(record.exc_info))
        return json.dumps(line)


def _clean(text: str) -> str:
    """Return the text without secrets, and without its middle if it is too long."""
    if "://" in text or "url: " in text.lower():  # or neither pattern can match
        text = _URL.sub(lambda url: url[1] + "?…" if url[2] else url[1], text)
        text = _PASSWORD.sub(r"\1…@", text)
    if len(text) <= MAX_CHARS:
        return text
    left_out = f" … {len(text) - MAX_CHARS} characters left out … "
    return text[: MAX_CHARS - _TAIL_CHARS] + left_out + text[-_TAIL_CHARS:]
