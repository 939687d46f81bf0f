import pytest

from worker import pace
from worker.pace import CLAIMED_SECONDS, MOST_CLAIMED, Pace


def test_more_are_claimed_while_downloads_are_short() -> None:
    measured = Pace()
    claimed = []
    for _ in range(7):
        claimed.append(measured.most_claimed("a"))
        measured.record("a", seconds=0.0)
    assert claimed == [1, 2, 4, 8, 16, MOST_CLAIMED, MOST_CLAIMED]
    assert measured.most_claimed("b") == 1


@pytest.mark.parametrize(
    ("seconds", "expected"), [(CLAIMED_SECONDS / 10, 10), (CLAIMED_SECONDS, 1), (30, 1)]
)
def test_no_more_than_last_for_a_fraction_of_a_second(seconds: float, expected: int) -> None:
    measured = Pace()
    for _ in range(6):
        measured.record("a", seconds=0.0)
    measured.record("a", seconds)
    assert measured.most_claimed("a") == expected


def test_no_more_are_claimed_after_a_failure() -> None:
    measured = Pace()
    for _ in range(3):
        measured.record("a", seconds=0.0)
    measured.record("a", seconds=0.0, may_grow=False)
    assert measured.most_claimed("a") == 8


def test_hosts_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_HOSTS", 2)
    measured = Pace()
    for host in "abc":
        measured.record(host, seconds=0.0)
    assert [measured.most_claimed(host) for host in "abc"] == [1, 1, 2]
