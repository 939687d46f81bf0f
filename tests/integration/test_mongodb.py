"""Properties of the MongoDB store alone."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pymongo
import pytest

import tasks.stores.mongodb
from devtools.servers.mongod import Mongod
from devtools.servers.process import free_port
from devtools.waiting import wait_for
from settings import Settings
from tasks.errors import StoreUnavailableError
from tasks.outcome import Succeeded
from tasks.step import StepKind
from tasks.stores.contract import TaskStore
from tasks.stores.document import Document
from tasks.stores.mongodb import MongoStore
from tasks.stores.open import open_store
from tasks.task import Task
from tests.batches import store_batch
from tests.examples import (
    DIGEST,
    LEASE,
    NOW,
    RETENTION,
    STATES,
    insert,
    make_task,
)
from tests.integration.stores import (
    AGES_AGO,
    HOLD,
    OPERATIONS,
    SECOND,
    Connect,
    get,
    ids,
    insert_due,
    mongod_url,
)

OLD_KEYS = [("wake_at", 1), ("status", 1), ("submitted_at", 1)]
OLD_INDEXES = {
    "wake_at_1_status_1_submitted_at_1",
    "wake_at_1_status_1_submitted_at_1_due_since_1",
}


@pytest.mark.services
def test_claim_that_finds_only_what_another_lane_has_claimed_looks_again(
    mongod: Mongod, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its lane would sleep although members wait."""
    store = connect(mongod_url(mongod))
    stored = store_batch(store, [f"http://a.example/{number}" for number in range(6)])
    claim = partial(store.members.claim, stored.lane_of("a.example"), now=store.now(), lease=LEASE)
    waiting = store.members._waiting

    def claim_what_is_found(which: Document, limit: int) -> list[Task]:
        monkeypatch.setattr(store.members, "_waiting", waiting)
        found = waiting(which, limit)
        assert ids(claim(limit, token="another")) == ids(found)
        return found

    monkeypatch.setattr(store.members, "_waiting", claim_what_is_found)
    assert [task.url[-1] for task in claim(2, token="token")] == ["2", "3"]


@pytest.mark.services
def test_mongod_reads_the_backlog_from_its_index_alone(mongod: Mongod, connect: Connect) -> None:
    store = connect(url := mongod_url(mongod))
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        partial = {"wake_at": {"$exists": True}}
        for keys in (OLD_KEYS, [*OLD_KEYS, ("due_since", 1)]):
            database["tasks"].create_index(keys, partialFilterExpression=partial)
        insert_due(store, 5)
        store.take_due(NOW, HOLD, 2)
        assert not OLD_INDEXES & database["tasks"].index_information().keys()
        database.command("profile", 2)
        assert store.backlog(NOW + SECOND).overdue == 5
        database.command("profile", 0)
        (entry,) = database["system.profile"].find({"command.aggregate": "tasks"})
    assert entry["docsExamined"] == 0
    assert entry["keysExamined"] == 5


@pytest.mark.services
def test_first_sweep_creates_the_indexes_of_mongodb(mongod: Mongod, connect: Connect) -> None:
    url = mongod_url(mongod)
    store = connect(url)
    store.take_due(NOW, HOLD, 1)
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        indexes = database["tasks"].index_information()
        counters = database["counters"].index_information()
        rests = database["rests"].index_information()
    by_field = {index["key"][0][0]: index for index in indexes.values()}
    assert by_field.keys() >= {"_id", "wake_at", "expires_at", "member.group", "lane.group"}
    assert by_field["expires_at"]["expireAfterSeconds"] == 0
    assert counters["expires_at_1"]["expireAfterSeconds"] == 0
    assert rests["until_1"]["expireAfterSeconds"] == 0


@pytest.mark.services
def test_an_index_that_takes_long_holds_up_nothing(
    own_mongod: Mongod, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a large collection gets a new one: the server goes on with it by itself."""
    monkeypatch.setattr(tasks.stores.mongodb, "OPERATION_MILLIS", 3000)
    monkeypatch.setattr(tasks.stores.mongodb, "INDEX_SECONDS", 10.0)
    store = connect(url := mongod_url(own_mongod))
    task = insert_due(store, 1)[0]
    own_mongod.fail("createIndexes", blockConnection=True, blockTimeMS=9000)
    try:
        assert [each.id for each in store.take_due(NOW, HOLD, 1)] == [task.id]
        own_mongod.fail("createIndexes", errorCode=1)  # which is not asked for again so soon
        assert store.count_hits({"client": 1}, NOW) == {"client": 1}
    finally:
        own_mongod.heal()
    with pymongo.MongoClient[dict[str, object]](url) as client:
        indexes = client.get_default_database()["tasks"].index_information

        def are_made() -> bool:
            assert store.take_due(NOW, HOLD, 1) == []
            return len(indexes()) > 1

        wait_for(are_made)


@pytest.mark.services
def test_a_user_without_the_right_to_it_sees_no_disk(own_mongod: Mongod, connect: Connect) -> None:
    store = connect(mongod_url(own_mongod))
    insert(store, make_task())
    own_mongod.fail("dbStats", errorCode=13)  # Unauthorized
    assert store.disk_space() is None
    own_mongod.heal()
    assert store.disk_space() is not None


@pytest.mark.services
def test_mongod_removes_what_has_expired(mongod: Mongod, connect: Connect) -> None:
    store = connect(mongod_url(mongod))
    expired, kept = replace(STATES["done"], expires_at=AGES_AGO), make_task()
    insert(store, expired)
    insert(store, kept)
    store.take_due(AGES_AGO, HOLD, 1)
    wait_for(lambda: store.get(expired.id) is None)
    assert store.get(kept.id) == kept


@pytest.mark.services
def test_mongod_keeps_what_was_inserted_through_a_kill(
    own_mongod: Mongod, connect: Connect
) -> None:
    store = connect(mongod_url(own_mongod))
    inserted = insert_due(store, 20)
    own_mongod.process.kill()
    with pytest.raises(StoreUnavailableError):
        insert(store, make_task())
    own_mongod.start()
    assert [get(store, task) for task in inserted] == inserted


@pytest.mark.services
def test_mongod_keeps_the_results_of_members_through_a_kill(
    own_mongod: Mongod, connect: Connect
) -> None:
    store = connect(mongod_url(own_mongod))
    stored = store_batch(store, [f"http://a.example/{number}" for number in range(20)])
    lane = stored.lane_of("a.example")
    claimed = store.members.claim(lane, 20, now=store.now(), lease=LEASE, token="token")
    done = [task.ended(Succeeded(DIGEST), store.now(), retention=RETENTION) for task in claimed]
    saved = store.members.save_all(done)
    own_mongod.process.kill()
    own_mongod.start()
    assert len(saved) == 20
    assert [get(store, task) for task in claimed] == saved


@pytest.mark.parametrize("call", OPERATIONS.values(), ids=OPERATIONS)
def test_mongod_out_of_reach(
    call: Callable[[TaskStore], object], monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(tasks.stores.mongodb, "SERVER_SELECTION_MILLIS", 100)
    monkeypatch.setattr(tasks.stores.mongodb, "OPERATION_MILLIS", 100)
    store = connect(f"mongodb://me:s3cret@127.0.0.1:{free_port()}/x")
    with pytest.raises(StoreUnavailableError) as caught:
        call(store)
    assert "s3cret" not in str(caught.value)


def test_mongod_out_of_reach_is_noticed_before_an_operation_times_out(
    monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    monkeypatch.setattr(tasks.stores.mongodb, "SERVER_SELECTION_MILLIS", 100)
    store = connect(f"mongodb://127.0.0.1:{free_port()}/x")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.ping()
    assert time.monotonic() - began < tasks.stores.mongodb.OPERATION_MILLIS / 1000


@pytest.mark.services
def test_mongod_takes_no_other_error_for_a_taken_id(mongod: Mongod, connect: Connect) -> None:
    url = mongod_url(mongod)
    with pymongo.MongoClient[dict[str, object]](url) as client:
        client.get_default_database().create_collection("tasks", validator={"url": "nothing"})
    with pytest.raises(StoreUnavailableError):
        insert(connect(url), make_task())


@pytest.mark.services
def test_mongod_hands_out_no_claim_made_during_a_sweep(
    mongod: Mongod, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, worker = connect(url := mongod_url(mongod)), connect(url)
    tasks_ = insert_due(store, 2)
    update_many = store._hints.update_many

    def claim_after(*args: object, **kwargs: object) -> object:
        result = update_many(*args, **kwargs)  # type: ignore[arg-type]
        assert worker.claim(tasks_[0].id, StepKind.COMPUTE_MD5, NOW, LEASE, "token")
        return result

    monkeypatch.setattr(store._hints, "update_many", claim_after)
    assert ids(store.take_due(NOW, HOLD, 10)) == [tasks_[1].id]


@pytest.mark.services
def test_open_store_opens_what_the_settings_name(mongod: Mongod, tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, mongodb_url=mongod_url(mongod)))
    assert isinstance(store, MongoStore)
    store.ping()
    store.close()
    assert list(tmp_path.iterdir()) == []
