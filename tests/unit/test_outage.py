import logging
import time
from collections.abc import Callable

import pytest

from tasks.outage import QUIET_SECONDS, Outage


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1000 + seconds)

    return set_time


@pytest.fixture
def outage(caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO)
    return Outage("the server", logging.getLogger("test"))


def test_one_line_each_time(
    outage: Outage, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    at(0)
    outage.end()
    for _ in range(5):
        outage.begin("refused")
    at(QUIET_SECONDS)
    for _ in range(5):
        outage.end()
    outage.begin("reset")
    assert caplog.messages == [
        "the server is out of reach: refused",
        "the server is back",
        "the server is out of reach: reset",
    ]


def test_a_server_that_answers_some_calls_and_others_not_is_not_back(
    outage: Outage, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(10):
        at(second)
        outage.begin("cannot write")
        outage.end()
    assert outage.is_on
    assert len(caplog.messages) == 1
