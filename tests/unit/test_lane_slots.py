"""Which lanes of a process download at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devtools.waiting import wait_for
from tests.examples import LANE, LEASE, NOW
from tests.fakes import ScriptedStore
from worker import lane_slots
from worker.lane_slots import LaneSlots
from worker.leases import Claim


class Turn:
    """A lane in a thread of its own, which keeps its slot until it may end."""

    def __init__(self, store: ScriptedStore, slots: LaneSlots, stopping: threading.Event) -> None:
        self.lane = Claim(store, LANE.claimed(NOW, LEASE), LEASE)
        self.has_begun = False
        self.may_end = threading.Event()
        self._slots, self._stopping = slots, stopping
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        if not stopping.is_set():
            wait_for(lambda: self.has_begun or self.lane in slots._waiting)

    def _run(self) -> None:
        with self._slots.taken_by(self.lane, self._stopping):
            self.has_begun = True
            self.may_end.wait()

    def end(self) -> None:
        self.may_end.set()
        self.thread.join()


@contextmanager
def turns(
    store: ScriptedStore, slots: LaneSlots, stopping: threading.Event, count: int
) -> Iterator[list[Turn]]:
    made = [Turn(store, slots, stopping) for _ in range(count)]
    yield made
    for turn in made:
        turn.may_end.set()
    for turn in made:
        turn.thread.join()


def begun(made: list[Turn]) -> list[bool]:
    return [turn.has_begun for turn in made]


def test_lanes_wait_for_a_slot_in_the_order_in_which_they_come(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    with turns(store, LaneSlots(2), stopping, 5) as made:
        assert begun(made) == [True, True, False, False, False]
        made[1].end()
        wait_for(lambda: made[2].has_begun)
        made[0].end()
        wait_for(lambda: made[3].has_begun)
        assert not made[4].has_begun


def test_lane_with_a_long_download_leaves_its_slot_to_the_next_one(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    slots = LaneSlots(1)
    with turns(store, slots, stopping, 4) as made:
        slots.give_away(made[0].lane)
        slots.give_away(made[0].lane)
        wait_for(lambda: made[1].has_begun)
        assert begun(made) == [True, True, False, False]
        made[0].end()
        assert not made[2].has_begun, "its end frees no slot again"
        made[1].end()
        wait_for(lambda: made[2].has_begun)


def test_only_so_many_lanes_continue_beside_the_slots(
    store: ScriptedStore, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_slots, "LONG_DOWNLOADS", 1)
    slots = LaneSlots(1)
    with turns(store, slots, stopping, 4) as made:
        slots.give_away(made[0].lane)
        wait_for(lambda: made[1].has_begun)
        slots.give_away(made[1].lane)
        assert not made[2].has_begun
        made[0].end()
        slots.give_away(made[1].lane)
        wait_for(lambda: made[2].has_begun)


def test_stop_ends_the_wait(store: ScriptedStore, stopping: threading.Event) -> None:
    with turns(store, LaneSlots(0), stopping, 2) as made:
        stopping.set()
        wait_for(lambda: begun(made) == [True, True])
