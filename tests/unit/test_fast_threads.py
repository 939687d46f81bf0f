"""Which lanes with long downloads have to leave the threads of fast lanes."""

from contextlib import ExitStack

import pytest

from tests.examples import LANE, LEASE, NOW
from tests.fakes import ScriptedStore
from worker.fast_threads import FastThreads
from worker.leases import Claim


def make_lanes(store: ScriptedStore, count: int) -> list[Claim]:
    return [Claim(store, LANE.claimed(NOW, LEASE), LEASE) for _ in range(count)]


def test_all_may_keep_their_threads_while_one_is_free(store: ScriptedStore) -> None:
    threads = FastThreads(4)
    lanes = make_lanes(store, 3)
    with ExitStack() as taken:
        for lane in lanes:
            taken.enter_context(threads.taken_by(lane))
        assert [threads.may_keep(lane) for lane in lanes] == [True] * 3


@pytest.mark.parametrize(("total", "kept"), [(1, 0), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_one_of_the_younger_half_has_to_leave_when_none_is_free(
    total: int, kept: int, store: ScriptedStore
) -> None:
    threads = FastThreads(total)
    lanes = make_lanes(store, total)
    with ExitStack() as taken:
        for lane in lanes:
            taken.enter_context(threads.taken_by(lane))
        assert [threads.may_keep(lane) for lane in lanes[:kept]] == [True] * kept
        assert not threads.may_keep(lanes[kept])
        assert not threads.may_keep(lanes[kept]), "it has left"
        assert [threads.may_keep(lane) for lane in lanes[kept + 1 :]] == [True] * (total - kept - 1)


def test_another_one_leaves_when_the_free_thread_is_taken(store: ScriptedStore) -> None:
    threads = FastThreads(4)
    lanes = make_lanes(store, 5)
    with ExitStack() as taken:
        for lane in lanes[:4]:
            taken.enter_context(threads.taken_by(lane))
        assert not threads.may_keep(lanes[2])
        assert threads.may_keep(lanes[3])
        taken.enter_context(threads.taken_by(lanes[4]))
        assert not threads.may_keep(lanes[3])
        assert threads.may_keep(lanes[4])


def test_a_thread_is_free_after_the_turn_of_a_lane(store: ScriptedStore) -> None:
    threads = FastThreads(2)
    first, second, third = make_lanes(store, 3)
    with threads.taken_by(first):
        with threads.taken_by(second):
            pass
        with threads.taken_by(third):
            assert not threads.may_keep(third)
        assert threads.may_keep(first)
        assert not threads.may_keep(second)
