import logging
import time
from collections.abc import Callable

import pytest

from telemetry.outage import QUIET_SECONDS, REFUSAL_QUIET_SECONDS, REPEAT_SECONDS, Outage


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


def test_a_refusal_is_an_error_once_a_minute(
    outage: Outage, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    line = "the server refuses access: 403. Check the password"
    for second in range(0, int(2 * REPEAT_SECONDS), 5):
        at(second)
        outage.begin("403", remedy="Check the password")
    assert caplog.messages == [line, line]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_a_server_that_is_back_and_refuses_access_is_logged_at_once(
    outage: Outage, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    at(0)
    outage.begin("refused")
    outage.begin("403", remedy="Check the password")
    outage.begin("refused")
    at(1)
    outage.begin("403", remedy="Check the password")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_calls_that_need_no_right_do_not_end_a_refusal(
    outage: Outage, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(0, 50, 10):
        at(second)
        outage.begin("403", remedy="Check the password")
        at(second + 9)
        outage.end()
        assert outage.is_on
    at(49 + REFUSAL_QUIET_SECONDS)
    outage.end()
    at(50 + REFUSAL_QUIET_SECONDS)
    outage.begin("403", remedy="Check the password")
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "ERROR"]
