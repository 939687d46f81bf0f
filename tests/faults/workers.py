"""Worker processes die."""

import os
import signal

from devtools.servers.system import Workers


def kill_a_child(workers: Workers) -> None:
    """Kill one process. Its master then stops the others, and exits."""
    os.kill(workers.children[0], signal.SIGKILL)
