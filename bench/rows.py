"""What a measurement comes to: a row of medians, ours beside the rival's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; each run's value is kept beside the medians."""

    name: str
    unit: str
    ours: Sequence[float]
    rival_name: str = ""
    rival: Sequence[float] = ()
    is_more_better: bool = False  # a rate is, a time is not

    @property
    def our_median(self) -> float:
        return median(self.ours)

    @property
    def rival_median(self) -> float | None:
        return median(self.rival) if self.rival else None

    @property
    def ratio(self) -> float | None:
        """How many times as good as the rival: above 1 is ours; None where there is no rival."""
        if not self.rival_median or not self.our_median:
            return None
        quotient = self.our_median / self.rival_median
        return quotient if self.is_more_better else 1 / quotient


def alternate(runs: int, **contestants: Callable[[], Result]) -> dict[str, list[Result]]:
    """Each contestant's results: all take their turn, then again, so all have the same weather."""
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, run in contestants.items():
            results[name].append(run())
    return results


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]
