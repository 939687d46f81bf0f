"""How tests find work that grows faster than its input."""

import time
from collections.abc import Callable

# Doubling the input doubles linear work and quadruples quadratic work.
MAX_FACTOR = 3.0
MIN_SECONDS = 0.002  # less is noise
ROUNDS = 5
TRIALS = 3  # of a suspicious pair, as other processes may slow down one of them


def assert_linear(
    work: Callable[[int], object],
    *,
    largest: int,
    smallest: int = 1024,
    clock: Callable[[], float] = time.process_time,
) -> None:
    """Assert that the CPU time of `work(size)` grows at most linearly up to `largest` bytes.

    Compares each size with the one twice as large. A ratio counts only if the larger input takes
    noticeable time, and a suspicious pair is measured again, so a busy machine does not fail it.
    Counts the CPU time of all threads of this process: let no thread work in the background. Or
    give a `clock` of the CPU time that matters.
    """
    sizes = [smallest]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    times = [_measure(work, size, 1, clock) for size in sizes]
    for number in range(1, len(sizes)):
        if not _is_steep(times[number - 1], times[number]):
            continue
        pair = sizes[number - 1 : number + 1]
        trials = [[_measure(work, size, ROUNDS, clock) for size in pair] for _ in range(TRIALS)]
        assert not all(_is_steep(before, after) for before, after in trials), (
            f"{pair[0]} and {pair[1]} bytes took these seconds of CPU time: {trials}"
        )


def _is_steep(before: float, after: float) -> bool:
    return after > MIN_SECONDS and after > MAX_FACTOR * max(before, MIN_SECONDS / 2)


def _measure(
    work: Callable[[int], object], size: int, rounds: int, clock: Callable[[], float]
) -> float:
    """Return the CPU seconds of the fastest round."""
    seconds = []
    for _ in range(rounds):
        began = clock()
        work(size)
        seconds.append(clock() - began)
    return min(seconds)
