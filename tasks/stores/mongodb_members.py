"""The members of batches in MongoDB."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo import ReplaceOne
from pymongo.collection import Collection

from tasks.batch import PARKED, Lane, Tally
from tasks.failure import CANCELLED
from tasks.step import Status
from tasks.stores.contract import Order
from tasks.stores.document import (
    FAILURE_CODES,
    FORMAT,
    Document,
    failure_document,
    read_all,
    to_document,
)
from tasks.task import Task

# Documents that this version can read. An equality with None also matches a missing field.
READABLE: Document = {
    "format": {"$in": [None, *range(1, FORMAT + 1)]},
    "failure.code": {"$in": [None, *FAILURE_CODES]},
}
# All that `tally` asks for, and before that what `claim` does.
_TALLY_INDEX = [
    ("member.group", 1),
    ("status", 1),
    ("member.host", 1),
    ("retry_at", 1),
    ("member.position", 1),
    ("digest.size", 1),
    ("is_mismatch", 1),
]
_CLAIM_ORDER = [("retry_at", 1), ("member.position", 1)]
_IS_MEMBER = {"member.group": {"$exists": True}}
_IS_LANE = {"lane.group": {"$exists": True}}
_UNCLAIMED_FIELDS = ("retry_at", "dispatched_at", "bytes_done", "bytes_total")
CLAIM_TRIES = 3  # if other lanes claim all that was found
_UNFINISHED = [Status.QUEUED.value, Status.RUNNING.value]
_DUE = datetime(1970, 1, 2, tzinfo=UTC)

Guard = Callable[[], AbstractContextManager[None]]


class MongoMembers:
    """The part of a MongoStore that is about batches."""

    def __init__(
        self,
        tasks: Collection[Document],
        hints: Collection[Document],
        rests: Collection[Document],
        guard: Guard,
        ensure_indexes: Callable[[], None],
    ) -> None:
        """`rests` has the hosts that the lanes leave alone; `guard` translates errors."""
        self._tasks = tasks
        self._hints = hints
        self._rests = rests
        self._guard = guard
        self._ensure_indexes = ensure_indexes

    def create_indexes(self) -> None:
        """Make the indexes that the other methods need."""
        for keys, where in (
            (_TALLY_INDEX, _IS_MEMBER),
            ([("member.group", 1), ("member.position", 1)], _IS_MEMBER),
            ([("member.group", 1), ("member.rank", 1)], _IS_MEMBER),
            ([("lane.group", 1)], _IS_LANE),
        ):
            self._tasks.create_index(keys, partialFilterExpression=where)
        self._rests.create_index("until", expireAfterSeconds=0)

    def activate(self, group: str) -> None:
        with self._guard():
            for new, wake_at in (
                ({"member.group": group, "status": Status.QUEUED.value}, PARKED),
                ({"lane.group": group, "lane_status": Status.QUEUED.value}, _DUE),
            ):
                self._tasks.update_many(
                    {**new, "wake_at": None},
                    {"$set": {"wake_at": wake_at}, "$unset": {"expires_at": ""}},
                )

    def claim(
        self, lane: Lane, limit: int, *, now: datetime, lease: timedelta, token: str
    ) -> list[Task]:
        is_due = {
            "status": Status.QUEUED.value,
            "$or": [{"retry_at": None}, {"retry_at": {"$lte": now}}],
            "wake_at": PARKED,
            **READABLE,
        }
        update = {
            "$set": {"status": Status.RUNNING.value, "wake_at": now + lease, "claim": token},
            "$inc": {"version": 1, "attempt": 1},
            "$unset": dict.fromkeys(_UNCLAIMED_FIELDS, ""),
        }
        with self._guard():
            self._ensure_indexes()
            if self._rest_end(lane) > now:
                return []
            for _ in range(CLAIM_TRIES):
                waiting = self._waiting({**_of(lane), **is_due, "retry_at": None}, limit)
                if len(waiting) < limit:
                    is_due_again = {**_of(lane), **is_due, "retry_at": {"$lte": now}}
                    waiting += self._waiting(is_due_again, limit - len(waiting))
                if not waiting:
                    return []
                among = {"_id": {"$in": [task.id for task in waiting]}}
                result = self._hints.update_many({**among, **is_due}, update, hint="_id_")
                # If one was claimed and given back in between, its next save finds the claim lost.
                if result.modified_count == len(waiting):
                    return [task.claimed(now, lease, token) for task in waiting]
                if result.modified_count:
                    found = self._hints.find({**among, "claim": token})
                    return sorted(read_all(found), key=_position)
            return []

    def _waiting(self, which: Document, limit: int) -> list[Task]:
        found = self._hints.find(which).sort(_CLAIM_ORDER).limit(limit).hint(_TALLY_INDEX)
        return list(read_all(map(_next_version, found)))

    def claimed(self, lane: Lane, token: str) -> list[Task]:
        ours = {**_of(lane), "status": Status.RUNNING.value, "claim": token}
        with self._guard():
            found = self._hints.find(ours).sort("member.position").hint(_TALLY_INDEX)
            return list(read_all(found))

    def save_all(self, tasks: Sequence[Task]) -> list[Task | None]:
        saved = [replace(task, version=task.version + 1) for task in tasks]
        writes = [
            ReplaceOne({"_id": task.id, "version": task.version}, to_document(next_one))
            for task, next_one in zip(tasks, saved, strict=True)
        ]
        with self._guard():
            result = self._tasks.bulk_write(writes, ordered=False)
            if result.matched_count == len(tasks):
                return list(saved)
            # The same version may be that of another change.
            ids = [task.id for task in tasks]
            written = list(read_all(self._tasks.find({"_id": {"$in": ids}})))
        return [each if each in written else None for each in saved]

    def rest(self, lane: Lane, until: datetime) -> None:
        with self._guard():
            self._rests.update_one({"_id": _name(lane)}, {"$max": {"until": until}}, upsert=True)

    def _rest_end(self, lane: Lane) -> datetime:
        found = self._rests.find_one({"_id": _name(lane)})
        return found["until"] if found else _DUE

    def due_at(self, lane: Lane) -> datetime | None:
        with self._guard():
            self._ensure_indexes()
            waiting = {**_of(lane), "status": Status.QUEUED.value}
            found = self._tasks.find(waiting, {"retry_at": True}).sort(_CLAIM_ORDER[:1]).limit(1)
            first = next(found.hint(_TALLY_INDEX), None)
            if first is None:
                return None
            return max(first.get("retry_at") or _DUE, self._rest_end(lane))

    def is_unfinished(self, group: str, host: str | None = None) -> bool:
        unfinished = {"member.group": group, "status": {"$in": _UNFINISHED}}
        if host is not None:
            unfinished["member.host"] = host
        with self._guard():
            return self._tasks.find_one(unfinished, {"_id": True}) is not None

    def is_running(self, group: str) -> bool:
        running = {"member.group": group, "status": Status.RUNNING.value}
        with self._guard():
            return self._tasks.find_one(running, {"_id": True}) is not None

    def has_lane(self, group: str) -> bool:
        unfinished = {"lane.group": group, "lane_status": {"$in": _UNFINISHED}}
        with self._guard():
            return self._tasks.find_one(unfinished, {"_id": True}) is not None

    def count(self, group: str) -> int:
        with self._guard():
            self._ensure_indexes()
            return self._tasks.count_documents({"member.group": group}, hint=_TALLY_INDEX)

    def tally(self, group: str) -> Tally:
        with self._guard():
            self._ensure_indexes()
            groups = self._tasks.aggregate(
                [
                    {"$match": {"member.group": group}},
                    {
                        "$group": {
                            "_id": None,
                            "done": _sum_if(["$status", Status.DONE.value], 1),
                            "failed": _sum_if(["$status", Status.FAILED.value], 1),
                            "mismatched": _sum_if(["$is_mismatch", True], 1),
                            "bytes_done": {"$sum": "$digest.size"},
                        }
                    },
                ],
                hint=dict(_TALLY_INDEX),
            )
            found = next(groups, {})  # of no members there is no group
        return Tally(**{name: value for name, value in found.items() if name != "_id"})

    def pages(self, group: str, order: Order, limit: int, after: int = -1) -> list[Task]:
        name = f"member.{order}"
        with self._guard():
            self._ensure_indexes()
            found = self._tasks.find({"member.group": group, name: {"$gt": after}})
            return list(read_all(found.sort(name, pymongo.ASCENDING).limit(limit)))

    def failed(self, group: str, limit: int) -> list[Task]:
        by_host = [("member.host", 1), ("member.position", 1)]
        with self._guard():
            self._ensure_indexes()
            found = self._tasks.find({"member.group": group, "status": Status.FAILED.value})
            return list(read_all(found.sort(by_host).limit(limit).hint(_TALLY_INDEX)))

    def cancel(self, group: str, now: datetime) -> int:
        with self._guard():
            result = self._tasks.update_many(
                {"member.group": group, "status": {"$in": _UNFINISHED}},
                {
                    "$set": {
                        "status": Status.FAILED.value,
                        "failure": failure_document(CANCELLED),
                        "finished_at": now,
                    },
                    "$inc": {"version": 1},
                    "$unset": dict.fromkeys(("wake_at", "retry_at", "dispatched_at"), ""),
                },
            )
        return result.modified_count

    def expire(self, group: str, expires_at: datetime) -> None:
        with self._guard():
            self._tasks.update_many({"member.group": group}, {"$set": {"expires_at": expires_at}})

    def remove_ended(self, group: str, before: datetime) -> int:
        with self._guard():
            return sum(
                self._tasks.delete_many({part: group, "finished_at": {"$lt": before}}).deleted_count
                for part in ("member.group", "lane.group")
            )


def _next_version(document: Document) -> Document:
    return {**document, "version": document["version"] + 1}


def _of(lane: Lane) -> Document:
    return {"member.group": lane.group, "member.host": lane.host}


def _name(lane: Lane) -> str:
    return f"{lane.group} {lane.host}"


def _sum_if(equal: list[Any], value: int) -> Document:
    return {"$sum": {"$cond": [{"$eq": equal}, value, 0]}}


def _position(task: Task) -> int:
    return task.member.position if task.member else 0
