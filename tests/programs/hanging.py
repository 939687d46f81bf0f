"""A worker that hangs once there is a file HANG_FLAG: `dramatiq tests.programs.hanging`.

HANG says how: `process` holds the GIL for ever, and the name of a loop ends this loop only.
"""

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

from devtools.waiting import wait_for
from telemetry.heartbeat import Heartbeats

_HANG, _FLAG = os.environ["HANG"], Path(os.environ["HANG_FLAG"])
_real_beat = Heartbeats.beat


def _hold_the_gil() -> None:
    wait_for(_FLAG.exists)
    ctypes.PyDLL(None).sleep(3600)  # unlike CDLL, it keeps the GIL, and leaves the cores to others


def _beat_or_end(heartbeats: Heartbeats, loop: str) -> Any:  # noqa: ANN401
    if loop.startswith(_HANG) and _FLAG.exists():
        raise SystemExit  # ends the thread, and dramatiq's do not catch it either
    return _real_beat(heartbeats, loop)


if _HANG == "process":
    threading.Thread(target=_hold_the_gil, daemon=True).start()
else:
    Heartbeats.beat = _beat_or_end  # type: ignore[method-assign, assignment]

import actors  # noqa: E402, F401  makes this process a worker
