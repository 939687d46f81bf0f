"""A process that dies between any two steps loses nothing, and repeats no mail but one."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from tests.e2e.crashing import start_crashing
from tests.e2e.ledger import all_tasks, assert_kept, make_all_due

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = bytes(range(256)) * 100
MD5 = hashlib.md5(BODY).hexdigest()


def submit(service: Service, url: str) -> str | None:
    """The id of a new task; None when the service died before it answered."""
    try:
        return service.submit(url, email="user@example.com")
    except requests.ConnectionError:
        return None


@pytest.mark.parametrize("point", ["insert", "publish", "claim", "hash", "result", "mail"])
def test_a_crash_right_after(
    point: str, system: System, serve: Serve, inbox: Inbox, tmp_path: Path
) -> None:
    origin = serve({"/file": BODY})
    victim = start_crashing(
        system, point, tmp_path / "flag", in_service=point in ("insert", "publish")
    )
    is_answered_first = victim is not system.service

    answered = submit(system.service, f"{origin.base}/file")

    assert victim.wait() != 0
    assert (tmp_path / "flag").exists()
    (task,) = all_tasks(system.store)
    assert answered == task.id or (answered is None and not is_answered_first)
    if is_answered_first:
        system.start_workers()
    else:
        system.start()
    make_all_due(system.store)
    most_mails = 2 if point == "mail" else 1
    assert_kept(system, {task.id: MD5}, inbox, most_mails=most_mails)
    assert len(inbox.mails) == most_mails
