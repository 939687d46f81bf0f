"""What `python -m worker.health` makes of the files that it finds."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.heartbeat import Heartbeats
from telemetry.run_folder import FOLDER_PREFIX
from worker.health import find_problems

HOUR = 3600


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a worker, which this process locks as a worker does."""
    made = tmp_path / f"{FOLDER_PREFIX}0"
    made.mkdir()
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    yield made
    os.close(lock)


def age(folder: Path, seconds: float) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - seconds,) * 2)


def test_a_loop_that_goes_round_is_healthy(folder: Path) -> None:
    heartbeats = Heartbeats(folder, ["one", "two"])
    assert find_problems(folder.parent, 60) == []
    age(folder, HOUR)
    heartbeats.beat("two")
    assert find_problems(folder.parent, 60) == [
        f"process {os.getpid()}: one has not gone round for {HOUR} s"
    ]


def test_a_clock_that_is_set_back_hides_no_loop_that_hangs(folder: Path) -> None:
    Heartbeats(folder, ["one"])
    age(folder, -HOUR)
    (problem,) = find_problems(folder.parent, 60)
    assert "one has not gone round" in problem


def test_a_thread_that_ended_ends_the_heartbeats(folder: Path) -> None:
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    heartbeats = Heartbeats(folder, ["one"])
    heartbeats.watch(thread)
    age(folder, HOUR)
    heartbeats.beat("one")
    assert find_problems(folder.parent, 60) == []
    may_end.set()
    thread.join()
    age(folder, HOUR)
    heartbeats.beat("one")
    assert find_problems(folder.parent, 60) != []


def test_a_thread_that_ends_in_good_order_ends_no_heartbeat(folder: Path) -> None:
    thread = threading.Thread(target=lambda: heartbeats.forget(threading.current_thread()))
    heartbeats = Heartbeats(folder, ["one"])
    heartbeats.watch(thread)
    thread.start()
    thread.join()
    age(folder, HOUR)
    heartbeats.beat("one")
    assert find_problems(folder.parent, 60) == []


def test_a_folder_that_a_killed_worker_left_is_not_looked_at(tmp_path: Path) -> None:
    left = tmp_path / f"{FOLDER_PREFIX}0"
    left.mkdir()
    Heartbeats(left, ["one"])
    assert find_problems(tmp_path, 60) == ["no worker runs here"]


def test_a_heartbeat_raises_nothing(folder: Path) -> None:
    heartbeats = Heartbeats(folder, ["one"])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    heartbeats.beat("one")
