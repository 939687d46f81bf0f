"""The system, killing itself right after CRASH_POINT: once, until there is a file CRASH_FLAG.

`python -m tests.programs.crashing` is the service, `dramatiq tests.programs.crashing` a worker.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dramatiq.brokers.stub import StubBroker

import worker.downloader
from service.__main__ import main
from tasks.step import MailStatus, Status
from tasks.stores.mongodb import MongoStore
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from worker.broker import _Broker
from worker.mail.smtp import SMTPMailer


def _is_claimed(task: Task | None) -> bool:
    return task is not None and task.status is Status.RUNNING


def _is_done(task: Task | None) -> bool:
    return task is not None and task.mail_status is MailStatus.PENDING


# After which functions a process dies, and if not every time, after which results of them.
_STORES = (MongoStore, SQLiteStore)
_POINTS: dict[str, tuple[tuple[Any, ...], str, Callable[[Any], bool]]] = {
    "insert": (_STORES, "insert_all", lambda _: True),
    "publish": ((_Broker, StubBroker), "enqueue", lambda _: True),
    "claim": (_STORES, "claim", _is_claimed),
    "hash": ((worker.downloader,), "download", lambda _: True),
    "result": (_STORES, "save", _is_done),
    "mail": ((SMTPMailer,), "send", lambda _: True),
}


def _crash() -> None:
    try:
        Path(os.environ["CRASH_FLAG"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _crash_after(owner: Any, name: str, is_point: Callable[[Any], bool]) -> None:  # noqa: ANN401
    real = getattr(owner, name)

    def crashing(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = real(*args, **kwargs)
        if is_point(result):
            _crash()
        return result

    setattr(owner, name, crashing)


_owners, _name, _is_point = _POINTS[os.environ["CRASH_POINT"]]
for _owner in _owners:
    _crash_after(_owner, _name, _is_point)

if __name__ == "__main__":
    main()
else:
    import actors  # noqa: F401  makes this process a worker
