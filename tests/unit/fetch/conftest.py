"""A transport that may reach loopback, and downloads with limits that fit a test."""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fetch import bounds, connecting, lookup, sockets, transport
from fetch.bounds import Bounds, Limits
from fetch.download import download
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.transport import Transport
from settings.parsing import Network
from tasks.digests import Digest
from tasks.failure import FailureCode
from tests.unit.fetch.origin import RawOrigin

LOOPBACK: list[Network] = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
LIMITS = Limits(
    max_bytes=2**30,
    max_redirects=3,
    connect_timeout=5,
    read_timeout=5,
    deadline=600,
    min_speed=0,
    min_speed_window=60,
)


class Fetch:
    """`download` over one transport, as a thread of a worker has it."""

    def __init__(self, over: Transport) -> None:
        self.transport = over
        self.is_cancelled: Callable[[], bool] = lambda: False

    def __call__(self, url: str, **limits: float) -> Digest:
        # `replace` knows the fields, mypy doesn't: they are ints and floats alike.
        chosen = replace(LIMITS, **limits)  # type: ignore[arg-type]
        return download(url, self.transport, chosen, is_cancelled=self.is_cancelled)

    def failure(self, url: str, **limits: float) -> FetchError:
        """How a download fails that must fail."""
        with pytest.raises(FetchError) as caught:
            self(url, **limits)
        return caught.value

    def code(self, url: str, **limits: float) -> FailureCode:
        return self.failure(url, **limits).failure.code


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are noticed within 50 ms, so that a test of one need not take a second."""
    for module in (bounds, connecting, lookup, sockets, transport):
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
