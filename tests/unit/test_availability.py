import logging
import time
from collections.abc import Callable

import pytest

from telemetry.availability import (
    QUIET_SECONDS,
    REFUSAL_QUIET_SECONDS,
    REPEAT_SECONDS,
    Availability,
)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1000 + seconds)

    return set_time


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Availability:
    caplog.set_level(logging.INFO)
    return Availability("the server", logging.getLogger("test"))


def test_one_line_each_time(
    server: Availability, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    at(0)
    server.succeeded()
    for _ in range(5):
        server.failed("refused")
    at(QUIET_SECONDS)
    for _ in range(5):
        server.succeeded()
    server.failed("reset")
    assert caplog.messages == [
        "the server is unreachable: refused",
        "the server has recovered",
        "the server is unreachable: reset",
    ]


def test_a_server_that_answers_some_calls_and_others_not_is_not_back(
    server: Availability, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(10):
        at(second)
        server.failed("cannot write")
        server.succeeded()
    assert server.is_down
    assert len(caplog.messages) == 1


def test_a_refusal_is_an_error_once_a_minute(
    server: Availability, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    line = "the server refuses access: 403. Check the password"
    for second in range(0, int(2 * REPEAT_SECONDS), 5):
        at(second)
        server.failed("403", remedy="Check the password")
    assert caplog.messages == [line, line]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_a_server_that_is_back_and_refuses_access_is_logged_at_once(
    server: Availability, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    at(0)
    server.failed("refused")
    server.failed("403", remedy="Check the password")
    server.failed("refused")
    at(1)
    server.failed("403", remedy="Check the password")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_calls_that_need_no_right_do_not_end_a_refusal(
    server: Availability, at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(0, 50, 10):
        at(second)
        server.failed("403", remedy="Check the password")
        at(second + 9)
        server.succeeded()
        assert server.is_down
    at(49 + REFUSAL_QUIET_SECONDS)
    server.succeeded()
    at(50 + REFUSAL_QUIET_SECONDS)
    server.failed("403", remedy="Check the password")
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO", "ERROR"]
