"""What programs have cost in processor time."""

import resource
from contextlib import suppress
from pathlib import Path

TICKS_PER_SECOND = 100  # what /proc counts in on Linux, whatever the kernel does: USER_HZ

# Fields of /proc/PID/stat after the name, proc(5).
_GROUP, _USER, _SYSTEM = 2, 11, 12


def of_group(group: int) -> float:
    """Seconds of user and system time of the living processes of a group, so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                ticks += int(fields[_USER]) + int(fields[_SYSTEM])
    return ticks / TICKS_PER_SECOND


def of_ended_children() -> float:
    """Seconds of user and system time of all children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
