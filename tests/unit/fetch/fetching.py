"""Downloads with limits that fit a test, by a transport that may reach loopback."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from fetch.bounds import Limits
from fetch.download import download
from fetch.errors import FetchError
from fetch.transport import Transport
from settings.parsing import Network
from tasks.digests import ALWAYS, Algorithm, Digest
from tasks.failure import FailureCode

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
        self.algorithms: Sequence[Algorithm] = ALWAYS
        self.breaks: list[FetchError] = []

    def __call__(self, url: str, **limits: float) -> Digest:
        # `replace` knows the fields, mypy doesn't: they are ints and floats alike.
        chosen = replace(LIMITS, **limits)  # type: ignore[arg-type]
        return download(
            url,
            self.transport,
            chosen,
            algorithms=self.algorithms,
            is_cancelled=self.is_cancelled,
            on_break=self.breaks.append,
        )

    def failure(self, url: str, **limits: float) -> FetchError:
        """How a download fails that must fail."""
        with pytest.raises(FetchError) as caught:
            self(url, **limits)
        return caught.value

    def code(self, url: str, **limits: float) -> FailureCode:
        return self.failure(url, **limits).failure.code
