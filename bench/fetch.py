"""Our download and nothing else, in a process of its own: `python -m bench.fetch URL DIGEST...`."""

import json
import math
import os
import sys
import time

from fetch.kept import KeptConnections
from settings import Settings
from tasks.digests import ALWAYS, Algorithm
from worker.downloader import Downloader


def main() -> None:
    """Fetch once, as a worker does; the figures go to the standard output."""
    fetch = Downloader(Settings.from_env(os.environ), KeptConnections()).fetch
    algorithms = (*ALWAYS, *map(Algorithm, sys.argv[2:]))
    cpu, began = time.process_time(), time.monotonic()
    digest = fetch(sys.argv[1], algorithms, lambda _done, _total: None, lambda: False, math.inf)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    json.dump({"md5": digest.md5, "seconds": seconds, "cpu_seconds": cpu_seconds}, sys.stdout)


if __name__ == "__main__":
    main()
