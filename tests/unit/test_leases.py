import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from devtools.waiting import wait_for
from tasks.errors import StoreUnavailableError
from tasks.outcome import Succeeded
from tasks.step import MailStatus, Status
from tasks.stores.sqlite import SQLiteStore
from tasks.task import Task
from tests.examples import ADDRESS, DIGEST, RETENTION, insert, make_task
from tests.fakes import ScriptedStore
from worker.leases import PROGRESS_SECONDS, RETRY_SECONDS, Claim, ClaimLostError, LeaseKeeper

LEASE = timedelta(seconds=30)
DONE = Succeeded(DIGEST)


@pytest.fixture
def keeper(store: ScriptedStore) -> Iterator[LeaseKeeper]:
    """Renews every 20 ms."""
    started = LeaseKeeper(store, 0.06)
    started.start()
    yield started
    started.stop()


def claim_new(store: ScriptedStore, lease: timedelta = LEASE) -> Task:
    task = make_task(ADDRESS, store.now())
    insert(store, task)
    claimed = store.save(task.claimed(store.now(), lease))
    assert claimed is not None
    return claimed


def get(store: ScriptedStore, task: Task) -> Task:
    found = store.get(task.id)
    assert found is not None
    return found


def test_renew_writes_lease_and_progress(store: ScriptedStore) -> None:
    task = claim_new(store, timedelta(0))
    claim = Claim(store, task, LEASE)
    claim.progress(5, 9)
    before = store.now()
    claim.renew()
    found = get(store, task)
    assert found == claim.task
    assert found.version == task.version + 1
    assert found.wake_at is not None
    assert before + LEASE <= found.wake_at <= store.now() + LEASE
    assert (found.bytes_done, found.bytes_total) == (5, 9)
    assert not claim.is_lost


def test_renewals_write_the_time_of_the_attempt(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    written: list[float] = []
    for _ in range(2):
        wait_for(lambda: claim.seconds > sum(written) + 0.001)
        claim.renew()
        written.append(get(store, claim.task).seconds_running or 0)
    assert 0 < written[0] < written[1]
    settled = claim.settle(DONE, retention=RETENTION, stopping=stopping)
    assert settled is not None
    assert settled.seconds_used >= written[1]


def test_time_before_the_turn_does_not_count(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    claim = Claim(store, claim_new(store), LEASE)
    claim.wait()
    now += 100
    claim.renew()
    assert claim.task.seconds_running == 0
    claim.start()
    now += 2
    claim.renew()
    assert claim.task.seconds_running == 2


def test_time_of_a_lost_worker_is_kept(store: ScriptedStore) -> None:
    claim = Claim(store, replace(claim_new(store), seconds_used=100), LEASE)
    wait_for(lambda: claim.seconds > 0.01)
    claim.renew()
    lost = store.save(get(store, claim.task).lost(store.now(), max_attempts=5, retention=RETENTION))
    assert lost is not None
    assert lost.status is Status.QUEUED
    assert get(store, lost).seconds_used >= 100.01


def test_mail_is_renewed_too(store: ScriptedStore) -> None:
    pending = store.save(claim_new(store).ended(DONE, store.now(), retention=RETENTION))
    assert pending is not None
    sending = store.save(pending.claimed(store.now(), timedelta(0)))
    assert sending is not None
    claim = Claim(store, sending, LEASE)
    claim.renew()
    assert get(store, sending).mail_status is MailStatus.SENDING
    assert store.take_due(store.now(), store.now(), 1) == []


def test_renewed_claim_settles(store: ScriptedStore, stopping: threading.Event) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    claim.renew()
    claim.renew()
    settled = claim.settle(DONE, retention=RETENTION, stopping=stopping)
    assert settled is not None
    assert get(store, settled) == settled
    assert (settled.status, settled.version) == (Status.DONE, 5)


def test_settled_claim_is_not_renewed(store: ScriptedStore, stopping: threading.Event) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    settled = claim.settle(DONE, retention=RETENTION, stopping=stopping)
    assert settled is not None
    claim.renew()
    assert get(store, settled) == settled


def test_lost_claim_writes_nothing(store: ScriptedStore, stopping: threading.Event) -> None:
    task = claim_new(store)
    claim = Claim(store, task, LEASE)
    winner = store.save(task.released(store.now()))
    claim.renew()
    assert claim.is_lost
    claim.renew()
    assert claim.settle(DONE, retention=RETENTION, stopping=stopping) is None
    assert get(store, task) == winner


def test_a_claim_is_confirmed_without_the_store_while_its_lease_lasts(
    store: ScriptedStore,
) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    store.fail("save")
    claim.confirm()


def test_a_claim_is_renewed_to_be_confirmed_once_its_lease_may_be_over(
    store: ScriptedStore,
) -> None:
    claim = Claim(store, claim_new(store, timedelta(0)), LEASE)
    claim.confirm()
    assert get(store, claim.task).version == 3


def test_a_claim_that_is_lost_is_not_confirmed(store: ScriptedStore) -> None:
    claim = Claim(store, task := claim_new(store, timedelta(0)), LEASE)
    assert store.save(task.released(store.now()))
    for _ in range(2):
        with pytest.raises(ClaimLostError):
            claim.confirm()


def test_claim_lost_unnoticed_writes_nothing(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    task = claim_new(store)
    winner = store.save(task.released(store.now()))
    assert Claim(store, task, LEASE).settle(DONE, retention=RETENTION, stopping=stopping) is None
    assert get(store, task) == winner


def test_settle_outlasts_an_outage(store: ScriptedStore, stopping: threading.Event) -> None:
    task = claim_new(store)
    store.fail(times=2)
    settled = Claim(store, task, LEASE).settle(DONE, retention=RETENTION, stopping=stopping)
    assert settled is not None
    assert get(store, task) == settled


def test_settle_outlasts_an_outage_of_the_clock(
    store: ScriptedStore, stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = claim_new(store)
    is_first = iter([True])

    def now() -> datetime:
        if next(is_first, False):
            raise StoreUnavailableError
        return SQLiteStore.now(store)

    monkeypatch.setattr(store, "now", now)
    assert (
        Claim(store, task, LEASE).settle(DONE, retention=RETENTION, stopping=stopping) is not None
    )


def test_renewal_that_failed_loses_nothing(store: ScriptedStore, stopping: threading.Event) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    store.fail()
    with pytest.raises(StoreUnavailableError):
        claim.renew()
    claim.renew()
    assert not claim.is_lost
    assert claim.settle(DONE, retention=RETENTION, stopping=stopping) is not None


def test_renewal_whose_answer_got_lost_loses_no_claim(store: ScriptedStore) -> None:
    claim = Claim(store, claim_new(store), LEASE)
    store.fail(is_written=True)
    with pytest.raises(StoreUnavailableError):
        claim.renew()
    claim.renew()
    assert not claim.is_lost
    assert get(store, claim.task) == claim.task


def test_renewal_whose_answer_got_lost_loses_no_result(
    store: ScriptedStore, stopping: threading.Event
) -> None:
    task = claim_new(store)
    claim = Claim(store, task, LEASE)
    store.fail(is_written=True)
    with pytest.raises(StoreUnavailableError):
        claim.renew()
    assert claim.settle(DONE, retention=RETENTION, stopping=stopping) is not None
    assert get(store, task).status is Status.DONE


def test_keeper_renews_again_and_again(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    task = claim_new(store)
    with keeper.keep(task) as claim:
        wait_for(lambda: get(store, task).version >= task.version + 3)
    assert not claim.is_lost


def test_keeper_writes_progress(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    task = claim_new(store)
    with keeper.keep(task) as claim:
        claim.progress(7, None)
        wait_for(lambda: get(store, task).bytes_done == 7)


def test_keeper_lets_go_after_the_block(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    task, other = claim_new(store), claim_new(store)
    with keeper.keep(task) as claim:
        pass
    with keeper.keep(other):
        wait_for(lambda: get(store, other).version >= other.version + 3)
    assert get(store, task).version <= claim.task.version


def test_keeper_continues_after_an_outage(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    task, other = claim_new(store), claim_new(store)
    with keeper.keep(task) as claim, keeper.keep(other) as another:
        fault = store.fail(times=5)
        wait_for(lambda: not fault.times)
        wait_for(lambda: claim.task.version > task.version and another.task.version > other.version)
    assert not claim.is_lost
    assert not another.is_lost


def test_keeper_tries_again_soon_after_a_renewal_that_failed(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, waits = LeaseKeeper(store, LEASE.total_seconds()), []
    with keeper.keep(claim_new(store)) as claim:

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            claim._renewed_at = -math.inf
            return len(waits) > 3

        store.fail("save_all", times=1)
        monkeypatch.setattr(keeper._stopped, "wait", wait)
        keeper._run()

    assert waits == [PROGRESS_SECONDS, RETRY_SECONDS, PROGRESS_SECONDS, PROGRESS_SECONDS]
    assert not claim.is_lost


def test_keeper_renews_all_claims_in_one_write(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    tasks = [claim_new(store) for _ in range(10)]
    with ExitStack() as kept:
        for task in tasks:
            kept.enter_context(keeper.keep(task))
        wait_for(lambda: any(len(written) == 10 for (written,) in store.calls("save_all")))


@pytest.mark.parametrize("is_written", [True, False])
def test_renewals_whose_answer_got_lost_cost_two_writes(
    store: ScriptedStore, *, is_written: bool
) -> None:
    tasks = [claim_new(store) for _ in range(10)]
    claims = [Claim(store, task, LEASE) for task in tasks]
    store.fail("save_all", is_written=is_written)
    with pytest.raises(StoreUnavailableError):
        Claim.renew_all(claims)

    Claim.renew_all(claims)

    assert not any(claim.is_lost for claim in claims)
    assert all(get(store, task).version == task.version + 2 for task in tasks)
    assert len(store.calls("save_all")) == 3


def test_a_claim_just_renewed_waits_for_the_next_round(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a cancelled download stops within 3 s: in 2.5 s, and half a second for a silent server."""
    keeper, now = LeaseKeeper(store, LEASE.total_seconds()), time.monotonic()
    with keeper.keep(claim_new(store)) as young, keeper.keep(claim_new(store)) as old:
        young._renewed_at, old._renewed_at = math.inf, now - PROGRESS_SECONDS / 4
        waits = iter([False, True])
        monkeypatch.setattr(keeper._stopped, "wait", lambda _seconds: next(waits))
        before = young.task.version, old.task.version
        keeper._run()
        assert (young.task.version, old.task.version) == (before[0], before[1] + 1)


def test_claims_that_cannot_be_renewed_together_are_renewed_one_by_one(
    store: ScriptedStore, keeper: LeaseKeeper
) -> None:
    task, other = claim_new(store), claim_new(store)
    with keeper.keep(task) as claim, keeper.keep(other) as another:
        fault = store.fail("save_all", times=1000, error=ValueError("bug"))
        wait_for(lambda: claim.task.version > task.version and another.task.version > other.version)
        assert fault.times < 1000


def test_keeper_notices_a_lost_claim(store: ScriptedStore, keeper: LeaseKeeper) -> None:
    task = claim_new(store)
    with keeper.keep(task) as claim:

        def steal() -> bool:
            return store.save(get(store, task).released(store.now())) is not None

        wait_for(steal)
        wait_for(lambda: claim.is_lost)
    assert get(store, task).status is Status.QUEUED
