"""Which lanes of a process run at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devtools.waiting import wait_for
from worker import lane_slots
from worker.lane_slots import LaneSlots


class Turn:
    """A thread that keeps its slot until it may end."""

    def __init__(self, slots: LaneSlots, stopping: threading.Event) -> None:
        self.has_begun = False
        self.may_end = threading.Event()
        self._slots, self._stopping = slots, stopping
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_for(lambda: self.has_begun or self.thread.ident in waiting(slots))

    def _run(self) -> None:
        with self._slots.taken(self._stopping):
            self.has_begun = True
            self.may_end.wait()

    def free(self) -> None:
        assert self.thread.ident is not None
        self._slots.free(self.thread.ident)

    def end(self) -> None:
        self.may_end.set()
        self.thread.join()


@contextmanager
def turns(slots: LaneSlots, stopping: threading.Event, count: int) -> Iterator[list[Turn]]:
    made = [Turn(slots, stopping) for _ in range(count)]
    try:
        yield made
    finally:
        for turn in made:
            turn.may_end.set()


def waiting(slots: LaneSlots) -> list[int]:
    return [waiter.thread for waiter in slots._waiting]


def wait_until_they_run(slots: LaneSlots, *running: Turn) -> None:
    threads = {turn.thread.ident for turn in running}
    wait_for(lambda: slots._holders | slots._long == threads)
    assert len(slots._holders) <= slots.total


def test_lanes_wait_for_a_slot_in_the_order_of_arrival(stopping: threading.Event) -> None:
    slots = LaneSlots(2)
    with turns(slots, stopping, 5) as made:
        wait_until_they_run(slots, made[0], made[1])
        made[1].end()
        wait_until_they_run(slots, made[0], made[2])
        made[0].end()
        wait_until_they_run(slots, made[2], made[3])
        assert waiting(slots) == [made[4].thread.ident]


def test_thread_with_a_long_download_frees_its_slot_once(stopping: threading.Event) -> None:
    slots = LaneSlots(1)
    with turns(slots, stopping, 4) as made:
        made[0].free()
        made[0].free()
        wait_until_they_run(slots, made[0], made[1])
        made[0].end()
        wait_until_they_run(slots, made[1])
        assert len(waiting(slots)) == 2, "its end frees no second slot"
        made[1].end()
        wait_until_they_run(slots, made[2])


def test_a_limited_number_of_threads_continue_without_a_slot(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_slots, "LONG_DOWNLOADS", 1)
    slots = LaneSlots(1)
    with turns(slots, stopping, 4) as made:
        made[0].free()
        wait_until_they_run(slots, made[0], made[1])
        made[1].free()
        assert slots._holders == {made[1].thread.ident}
        made[0].end()
        made[1].free()
        wait_until_they_run(slots, made[1], made[2])


def test_stop_ends_the_wait(stopping: threading.Event) -> None:
    with turns(LaneSlots(0), stopping, 2) as made:
        assert not any(turn.has_begun for turn in made)
        stopping.set()
        wait_for(lambda: all(turn.has_begun for turn in made))
