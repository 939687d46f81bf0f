"""A worker whose clock is wrong by CLOCK_SKEW seconds: `dramatiq tests.programs.skewed`."""

import os
import time

_skew = int(os.environ["CLOCK_SKEW"])
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _skew
time.time_ns = lambda: _time_ns() + _skew * 1_000_000_000

import actors  # noqa: E402, F401  it reads the clock from now on
