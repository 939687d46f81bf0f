"""The service on a machine whose clock is wrong by the seconds in the file CLOCK_SKEW_FILE."""

import os
import time
from pathlib import Path

from service.__main__ import main

_file = Path(os.environ["CLOCK_SKEW_FILE"])
_time, _time_ns = time.time, time.time_ns


def _skew() -> int:
    return int(_file.read_text())


if __name__ == "__main__":
    time.time = lambda: _time() + _skew()
    time.time_ns = lambda: _time_ns() + _skew() * 1_000_000_000
    main()
