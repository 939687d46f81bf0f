"""Starts systems of which one process kills itself at a certain point."""

from pathlib import Path

from devtools.servers.deployment import System
from devtools.servers.process import Process


def start_crashing(system: System, point: str, flag: Path, *, in_service: bool) -> Process:
    """Start the whole system, and return the process that will crash, once.

    In the embedded system that is always the service.
    """
    module, crash_flag = "tests.programs.crashing", str(flag)
    if system.is_distributed and not in_service:
        system.start_service()
        return system.start_workers(module=module, CRASH_POINT=point, CRASH_FLAG=crash_flag)
    return system.start_service(module=module, CRASH_POINT=point, CRASH_FLAG=crash_flag)
