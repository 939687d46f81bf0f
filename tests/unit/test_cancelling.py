from service import cancel
from tasks.batch import Tally
from tasks.outcome import Succeeded
from tests.batches import store_batch
from tests.examples import DIGEST, LEASE, RETENTION
from tests.fakes import ScriptedStore


def test_batch_that_ends_during_its_cancellation_keeps_its_members(store: ScriptedStore) -> None:
    """Its mail has their results attached, and may be sent days later."""
    stored = store_batch(store, ["http://a.example/1"], email="someone@example.com")
    (member,) = store.members.claim(
        stored.lane_of("a.example"), 1, now=store.now(), lease=LEASE, token="token"
    )
    store.members.save_all([member.ended(Succeeded(DIGEST), store.now(), retention=RETENTION)])
    as_read_by_the_service = store.get(stored.task.id)
    assert as_read_by_the_service is not None
    kept_until = store.now() + 2 * RETENTION
    store.members.expire(stored.group, kept_until)
    tally = Tally(done=1, bytes_done=DIGEST.size)
    claimed = as_read_by_the_service.claimed(store.now(), LEASE)
    ended = store.save(claimed.ended(Succeeded(tally=tally), store.now(), retention=RETENTION))

    assert cancel._cancel_batch(store, as_read_by_the_service, RETENTION) == ended

    (kept,) = store.members.pages(stored.group, "position", 9)
    assert kept.expires_at == kept_until
