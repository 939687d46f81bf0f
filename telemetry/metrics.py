"""Declares metrics: what each is called, what it counts, and by which labels.

A declaration is a value. The object of prometheus_client behind it is made by `start`, or at its
first use, so importing a module that declares metrics does nothing.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import prometheus_client
from prometheus_client.metrics_core import GaugeMetricFamily

Made = TypeVar(
    "Made", prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram
)

_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Row:
    """A metric as the documentation describes it."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    def family(self, value: float | None = None) -> GaugeMetricFamily:
        """Return what a collector yields for a gauge that is asked for at each scrape."""
        return GaugeMetricFamily(self.name, self.meaning, value, self.labels or None)


class Metric(ABC, Generic[Made]):
    """A metric that processes count by themselves."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        series: Iterable[Sequence[str]] = (),
    ) -> None:
        """`series` are the values of the labels that exist at 0 from the start.

        An alert cannot see the first event of a series that begins with it.
        """
        self.row = Row(name, meaning, tuple(labels))
        self._series = [tuple(values) for values in series]
        self._made: Made | None = None

    def start(self) -> None:
        """Start all series at 0, in the place that the exporter has set up."""
        self._made = self._make()
        for values in self._series:
            self._made.labels(*values)

    @abstractmethod
    def _make(self) -> Made:
        """Return a new object of prometheus_client."""

    def _of(self, values: Sequence[str]) -> Made:
        """Return the series of those values."""
        made = self._made or self._make_once()
        return made.labels(*values) if values else made

    def _make_once(self) -> Made:
        with _making:  # another thread may have been first
            self._made = self._made or self._make()
            return self._made


class Counter(Metric[prometheus_client.Counter]):
    """A number that only grows."""

    def _make(self) -> prometheus_client.Counter:
        return prometheus_client.Counter(
            self.row.name, self.row.meaning, self.row.labels, registry=None
        )

    def inc(self, *values: str, amount: float = 1) -> None:
        """Add to the series of the label values."""
        self._of(values).inc(amount)


class Gauge(Metric[prometheus_client.Gauge]):
    """A number of each process. The lowest one counts, or the sum of all."""

    def __init__(
        self, name: str, meaning: str, *, mode: Literal["livemin", "livesum"] = "livemin"
    ) -> None:
        super().__init__(name, meaning)
        self._mode = mode

    def _make(self) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(
            self.row.name,
            self.row.meaning,
            self.row.labels,
            registry=None,
            multiprocess_mode=self._mode,
        )

    def set(self, value: float, *values: str) -> None:
        """Set the series of the label values."""
        self._of(values).set(value)


class Histogram(Metric[prometheus_client.Histogram]):
    """Durations in seconds, counted in buckets."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
    ) -> None:
        super().__init__(name, meaning, labels)
        self._buckets = buckets

    def _make(self) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            self.row.name, self.row.meaning, self.row.labels, registry=None, buckets=self._buckets
        )

    def observe(self, seconds: float, *values: str) -> None:
        """Count a duration in the series of the label values."""
        self._of(values).observe(seconds)

    def start_series(self, *values: str) -> None:
        """Start the series of the label values at 0."""
        self._of(values)

    def time(self) -> AbstractContextManager[object]:
        """Return a block whose duration is counted."""
        return self._of(()).time()
