"""Checks the workers on this machine or in this container: `python -m worker.health [SECONDS]`.

It exits with 1 and a reason if no worker runs, if a process has stopped, or if a loop has not
completed a round for SECONDS, by default 120. An outage of a server stops no loop. It needs
Linux's /proc, and imports little, because it runs every few seconds.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from telemetry.run_folder import FOLDER_PREFIX, HEARTBEAT_PREFIX

MOST_SECONDS = 120.0  # longer than any call to a frozen server takes
# The states of /proc/PID/stat in which a process does nothing: stopped, traced, ended.
_STOPPED = frozenset("TtZXx")


def find_problems(parent: Path, most_seconds: float) -> list[str]:
    """Return the problems of the workers whose folders are in `parent`."""
    files = [
        file for folder in _folders_in_use(parent) for file in folder.glob(f"{HEARTBEAT_PREFIX}*")
    ]
    if not files:
        return ["no worker runs here"]
    return [problem for file in files for problem in _problems_of(file, most_seconds)]


def _folders_in_use(parent: Path) -> Iterator[Path]:
    """Yield the folders of this user that are locked by a process, as those of a worker are."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):  # it has gone, or is closed to this user
            if folder.stat().st_uid == os.getuid() and _is_locked(folder):
                yield folder


def _is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _problems_of(file: Path, most_seconds: float) -> Iterator[str]:
    """Yield the problems of a loop, of its process, and of its main process."""
    pid, master, loop = file.name.removeprefix(HEARTBEAT_PREFIX).split("_", 2)
    if not _runs(master):
        yield f"the main process {master} does not run"
    if not _runs(pid):
        yield f"process {pid} does not run"
    with suppress(FileNotFoundError):  # its worker has just ended
        # A clock that was set back must not make a stopped loop look young.
        age = abs(time.time() - file.stat().st_mtime)
        if age > most_seconds:
            yield f"process {pid}: {loop} has not gone round for {age:.0f} s"


def _runs(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in _STOPPED


def main() -> None:
    """Exit with the reason if something is wrong."""
    most_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else MOST_SECONDS
    problems = find_problems(Path(tempfile.gettempdir()), most_seconds)
    if problems:
        sys.exit("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    main()
