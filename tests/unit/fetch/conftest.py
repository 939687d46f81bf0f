"""The fixtures of the tests of downloads."""

from collections.abc import Callable, Iterator

import pytest

from devtools.servers.raw_origin import RawOrigin
from fetch import bounds, connecting, lookup, transport
from fetch.bounds import Bounds
from fetch.guard import Guard
from fetch.transport import Transport
from tests.unit.fetch.fetching import LOOPBACK, Fetch


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are noticed within 50 ms, so that a test of one need not take a second."""
    for module in (bounds, connecting, lookup, transport):
        monkeypatch.setattr(module, "SLICE_SECONDS", 0.05)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before resumes, which take no time."""
    noted: list[float] = []

    def pause(bounds: Bounds, seconds: float) -> None:
        bounds.check()
        noted.append(seconds)

    monkeypatch.setattr(Bounds, "pause", pause)
    return noted


@pytest.fixture
def fetch() -> Iterator[Fetch]:
    over = Transport(Guard(allow=LOOPBACK))
    yield Fetch(over)
    over.close()


@pytest.fixture
def originate() -> Iterator[Callable[..., RawOrigin]]:
    """Makes an origin of scripts; stopped at the test's end."""
    origins: list[RawOrigin] = []

    def make(*args: object, **kwargs: object) -> RawOrigin:
        origins.append(RawOrigin(*args, **kwargs))  # type: ignore[arg-type]
        return origins[-1]

    yield make
    for origin in origins:
        origin.stop()
