"""Tasks in MongoDB: for any number of machines."""

import logging
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Self, cast

import pymongo
from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError, NetworkTimeout, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from settings import Settings
from tasks.batch import PARKED
from tasks.errors import StoreUnavailableError
from tasks.pauses import CLOCK_TOLERANCE
from tasks.step import ROWS, StepKind, StepState
from tasks.stores.clock import ServerClock
from tasks.stores.contract import BacklogStats, Clock, DiskSpace
from tasks.stores.document import (
    Document,
    from_document,
    read_all,
    to_document,
)
from tasks.stores.mongodb_indexes import EARLIEST, backlog_pipeline, create_indexes
from tasks.stores.mongodb_members import READABLE, MongoMembers
from tasks.task import Task
from telemetry.availability import Availability

SERVER_SELECTION_MILLIS = 2000
OPERATION_MILLIS = 5000
INDEX_SECONDS = 30.0  # between two looks whether the server has built an index

# In the journal of a majority: with w=1 and without it, a killed server loses acknowledged writes.
DURABLE = WriteConcern(w="majority", j=True)
# For what is only a hint: it costs nothing but time when such a write is lost.
HINT = WriteConcern(w=1)

# MongoDB's codes of errors
DUPLICATE_KEY = 11000
REFUSALS = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, and both on Atlas
REMEDY = (
    "Check the user, the password, authSource and the user's roles in MONGODB_URL"
    " (with Docker Compose: MONGODB_PASSWORD; see Passwords in docs/operations.md)"
)

# What a claim removes. The sweep's could let a sweeper that is just at it take the task.
PROGRESS_FIELDS = ("bytes_done", "bytes_total")
SWEEP_FIELDS = ("taken_by", "due_since")
UNCLAIMED_FIELDS = ("retry_at", "dispatched_at", *PROGRESS_FIELDS, *SWEEP_FIELDS)

_IS_WAITING = [{row.status_field: {"$in": row.names_of_waiting}} for row in ROWS.values()]


def open_store(settings: Settings) -> "MongoStore":
    """Return the store of the settings, which connects when it is first used."""
    return MongoStore.connect(settings.store_url)


class MongoStore:
    """A TaskStore in the collections `tasks`, `counters` and `rests` of a database."""

    description = "MongoDB"

    def __init__(self, database: Database[Document], clock: Clock | None = None) -> None:
        """Keep tasks in a database; the time is the server's unless there is a `clock`."""
        self._client = database.client
        self._tasks = database.get_collection("tasks", write_concern=DURABLE)
        self._hints = database.get_collection("tasks", write_concern=HINT)
        self._counters = database.get_collection("counters", write_concern=HINT)
        self._clock = clock or ServerClock(self._ask_for_time)
        self._availability = Availability("MongoDB", logging.getLogger(__name__))
        self._has_indexes = False
        self._index_again_at = -math.inf
        self.members = MongoMembers(
            self._tasks,
            self._hints,
            database.get_collection("rests", write_concern=HINT),
            self._translated_errors,
            self._ensure_indexes,
        )

    @classmethod
    def connect(cls, url: str) -> Self:
        """A store on the server at `url`, to which it connects when it is first used.

        The database is the one that the URL names, or else md5_light.
        """
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            url,
            tz_aware=True,
            appname="md5-light",
            serverSelectionTimeoutMS=SERVER_SELECTION_MILLIS,
            connectTimeoutMS=SERVER_SELECTION_MILLIS,
            socketTimeoutMS=OPERATION_MILLIS,
        )
        return cls(client.get_default_database("md5_light"))

    def now(self) -> datetime:
        return self._clock.now()

    def _ask_for_time(self) -> datetime:
        with self._translated_errors():
            # A command's answer has no time zone, whatever the client's options say.
            return cast("datetime", self._client.admin.command("hello")["localTime"]).replace(
                tzinfo=UTC
            )

    def insert_all(self, tasks: Sequence[Task]) -> set[str]:
        if not tasks:
            return set()
        with self._translated_errors():
            try:
                self._tasks.insert_many(map(to_document, tasks), ordered=False)
            except BulkWriteError as error:
                details = error.details or {}
                failed = details.get("writeErrors", [])
                is_written = not details.get("writeConcernErrors")
                if not is_written or any(each["code"] != DUPLICATE_KEY for each in failed):
                    raise
                return {tasks[each["index"]].id for each in failed}
        return set()

    def get(self, task_id: str) -> Task | None:
        with self._translated_errors():
            document = self._tasks.find_one({"_id": task_id})
        return from_document(document) if document else None

    def ended(self, task_ids: Collection[str]) -> list[Task]:
        is_ended = {"_id": {"$in": list(task_ids)}, "finished_at": {"$gt": EARLIEST}}
        with self._translated_errors():
            return list(read_all(self._tasks.find(is_ended)))

    def save(self, task: Task) -> Task | None:
        saved = replace(task, version=task.version + 1)
        with self._translated_errors():
            result = self._tasks.replace_one(
                {"_id": task.id, "version": task.version}, to_document(saved)
            )
        return saved if result.matched_count else None

    def claim(
        self, task_id: str, kind: StepKind, now: datetime, lease: timedelta, token: str
    ) -> Task | None:
        """As in TaskStore: the update does to the document what `claimed_for` does to the task."""
        row = ROWS[kind]
        is_next = {
            "_id": task_id,
            row.requested_by: {"$nin": [None, ""]},
            row.status_field: {"$in": row.names_of_waiting},
            "$or": [{"retry_at": None}, {"retry_at": {"$lte": now + CLOCK_TOLERANCE}}],
            **READABLE,
        }
        update = {
            "$set": {
                row.status_field: row.names[StepState.CLAIMED].value,
                "wake_at": now + lease,
                "claim": token,
            },
            "$inc": {"version": 1, row.attempt_field: 1},
            "$unset": dict.fromkeys(UNCLAIMED_FIELDS, ""),
        }
        tasks = self._hints if row.is_repeatable else self._tasks
        with self._translated_errors():
            document = tasks.find_one_and_update(
                is_next, update, return_document=ReturnDocument.AFTER
            )
        return from_document(document) if document else None

    def take_due(self, now: datetime, visible_again_at: datetime, limit: int) -> list[Task]:
        """As in TaskStore: the token says which of several callers moved a task's wake_at."""
        is_due = {"wake_at": {"$lte": now}, **READABLE}
        with self._translated_errors():
            self._ensure_indexes()
            due = self._tasks.find(is_due, {"wake_at": True}).sort("wake_at").limit(limit)
            wake_at = {document["_id"]: document["wake_at"] for document in due}
            if not wake_at:
                return []
            among = {"_id": {"$in": list(wake_at)}}
            token = uuid.uuid4().hex
            self._hints.update_many(
                {**among, **is_due},
                {
                    "$set": {"wake_at": visible_again_at, "taken_by": token},
                    "$min": {"due_since": now},  # kept until a message is out, or a claim
                },
            )
            taken = {each["_id"]: each for each in self._tasks.find({**among, "taken_by": token})}
        return list(
            read_all({**taken[each], "wake_at": wake_at[each]} for each in wake_at if each in taken)
        )

    def mark_dispatched(self, tasks: Collection[Task]) -> None:
        alike: dict[tuple[int, datetime | None, datetime | None], list[str]] = defaultdict(list)
        for task in tasks:
            alike[task.version, task.dispatched_at, task.wake_at].append(task.id)
        with self._translated_errors():
            for (version, dispatched_at, wake_at), ids in alike.items():
                self._hints.update_many(
                    {"_id": {"$in": ids}, "version": version},
                    {
                        "$set": {"dispatched_at": dispatched_at, "wake_at": wake_at},
                        "$unset": {"due_since": ""},
                    },
                )

    def wake_unclaimed(self, now: datetime) -> None:
        with self._translated_errors():
            self._ensure_indexes()
            self._tasks.update_many(
                {
                    "wake_at": {"$gt": EARLIEST, "$lt": PARKED},
                    "$and": [
                        {"$or": _IS_WAITING},
                        {"$or": [{"retry_at": None}, {"dispatched_at": {"$ne": None}}]},
                    ],
                },
                {"$min": {"wake_at": now}, "$unset": {"dispatched_at": True}},
            )

    def count_hits(self, hits: Mapping[str, int], until: datetime) -> dict[str, int]:
        with self._translated_errors():
            self._ensure_indexes()
            return {key: self._count_hits(key, more, until) for key, more in hits.items()}

    def _count_hits(self, key: str, more: int, until: datetime) -> int:
        before = self._counters.find_one_and_update(
            {"_id": f"{until.isoformat()} {key}"},
            {"$inc": {"hits": more}, "$setOnInsert": {"expires_at": until}},
            upsert=True,
        )
        return (before["hits"] if before else 0) + more

    def count_unfinished(self, most: int) -> int:
        with self._translated_errors():
            self._ensure_indexes()
            return self._tasks.count_documents({"wake_at": {"$gt": EARLIEST}}, limit=most)

    def backlog(self, now: datetime) -> BacklogStats:
        """As in TaskStore; everything that it asks for is in the index."""
        with self._translated_errors():
            groups = self._tasks.aggregate(backlog_pipeline(now))
            return BacklogStats.of(
                (each["_id"], each["tasks"], each["overdue"], each["oldest"], each["active"])
                for each in groups
            )

    def count_stored(self) -> int:
        """As in TaskStore; the server keeps this number."""
        with self._translated_errors():
            return self._tasks.estimated_document_count()

    def disk_space(self) -> DiskSpace | None:
        with self._translated_errors():
            try:
                found = self._tasks.database.command("dbStats")
            except OperationFailure:  # the user has no right to it, or the server is not MongoDB's
                return None
        size, used = found.get("fsTotalSize"), found.get("fsUsedSize", 0)
        return DiskSpace(free=int(size - used), size=int(size)) if size else None

    def remove_settled(self, limit: int) -> int:
        is_settled = {"wake_at": None, "finished_at": {"$gt": EARLIEST}}
        with self._translated_errors():
            self._ensure_indexes()
            expiring = self._tasks.find({"expires_at": {"$gt": EARLIEST}, **is_settled}, {"_id": 1})
            ids = [each["_id"] for each in expiring.sort("expires_at").limit(limit)]
            if not ids:
                return 0
            return self._hints.delete_many({"_id": {"$in": ids}, **is_settled}).deleted_count

    def ping(self) -> None:
        with self._translated_errors():
            self._tasks.find_one({"_id": ""}, {"_id": True})  # MongoDB's ping needs no rights

    def close(self) -> None:
        self._client.close()

    def _ensure_indexes(self) -> None:
        """Made by those who use them, so that a service starts while the server is down."""
        if self._has_indexes or time.monotonic() < self._index_again_at:
            return
        try:
            create_indexes(self._tasks, self._counters)
            self.members.create_indexes()
        except NetworkTimeout:  # the server goes on, and works without an index until then
            self._index_again_at = time.monotonic() + INDEX_SECONDS
        else:
            self._has_indexes = True

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except PyMongoError as error:
            details = getattr(error, "details", None) or {}  # no text of it: that names documents
            what = f"{type(error).__name__} {details.get('codeName', '')}".strip()
            is_refusal = isinstance(error, OperationFailure) and error.code in REFUSALS
            self._availability.failed(what, remedy=REMEDY if is_refusal else None)
            raise StoreUnavailableError(f"MongoDB: {what}") from error
        self._availability.succeeded()
