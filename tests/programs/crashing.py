"""The system, killing itself right after CRASH_POINT: once, until there is a file CRASH_FLAG.

`python -m tests.programs.crashing` is the service, `dramatiq tests.programs.crashing` a worker.
"""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import worker.downloader
import worker.publisher
from service.__main__ import main
from tasks.step import MailStatus, Status
from tasks.stores.mongodb import MongoStore
from tasks.stores.mongodb_members import MongoMembers
from tasks.stores.sqlite import SQLiteStore
from tasks.stores.sqlite_members import SQLiteMembers
from tasks.task import Task
from worker.mail.smtp import SMTPMailer

Arguments = Sequence[Any]


def _always(_result: object, _arguments: Arguments) -> bool:
    return True


def _is_claimed(task: Task | None, _arguments: Arguments) -> bool:
    return task is not None and task.status is Status.RUNNING


def _is_done(task: Task | None, _arguments: Arguments) -> bool:
    return task is not None and task.mail_status is MailStatus.PENDING


def _has_lanes(_result: object, arguments: Arguments) -> bool:
    return arguments[1][-1].lane is not None


def _has_batch(_result: object, arguments: Arguments) -> bool:
    return arguments[1][0].batch is not None


def _is_something(result: object, _arguments: Arguments) -> bool:
    return bool(result)


# After which functions a process dies, and if not every time, after which results and arguments.
_STORES = (MongoStore, SQLiteStore)
_MEMBERS = (MongoMembers, SQLiteMembers)
_POINTS: dict[str, tuple[tuple[Any, ...], str, Callable[[Any, Arguments], bool]]] = {
    "insert": (_STORES, "insert_all", _always),
    "publish": ((worker.publisher,), "publish_all", _always),
    "claim": (_STORES, "claim", _is_claimed),
    "hash": ((worker.downloader,), "download", _always),
    "result": (_STORES, "save", _is_done),
    "mail": ((SMTPMailer,), "send", _always),
    "insertion of lanes": (_STORES, "insert_all", _has_lanes),
    "insertion of the batch": (_STORES, "insert_all", _has_batch),
    "activation": (_MEMBERS, "activate", _always),
    "claim of members": (_MEMBERS, "claim", _is_something),
    "results of members": (_MEMBERS, "save_all", _always),
    "tally": (_MEMBERS, "tally", lambda tally, _: tally.ended > 0),
    "expiry": (_MEMBERS, "expire", _always),
}


def _crash() -> None:
    try:
        Path(os.environ["CRASH_FLAG"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _crash_after(owner: Any, name: str, is_point: Callable[[Any, Arguments], bool]) -> None:  # noqa: ANN401
    real = getattr(owner, name)

    def crashing(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = real(*args, **kwargs)
        if is_point(result, args):
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
