"""The indexes of the collections `tasks` and `counters`, without those for members of batches."""

from contextlib import suppress
from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tasks.stores.document import Document

# All that `backlog` asks for, and the names of the indexes that earlier versions made for it.
BACKLOG_INDEX = [
    ("wake_at", 1),
    ("status", 1),
    ("submitted_at", 1),
    ("due_since", 1),
    ("active_at", 1),
]
OLD_BACKLOG_INDEXES = (
    "wake_at_1_status_1_submitted_at_1",
    "wake_at_1_status_1_submitted_at_1_due_since_1",
)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def backlog_pipeline(now: datetime) -> list[Document]:
    """Return the aggregation of the unfinished tasks by status."""
    overdue = {"$cond": [{"$lt": [{"$ifNull": ["$due_since", "$wake_at"]}, now]}, 1, 0]}
    return [
        {"$match": {"wake_at": {"$gt": EARLIEST}}},
        {
            "$group": {
                "_id": "$status",
                "tasks": {"$sum": 1},
                "overdue": {"$sum": overdue},
                "oldest": {"$min": "$submitted_at"},
                "active": {"$min": "$active_at"},
            }
        },
    ]


def create_indexes(tasks: Collection[Document], counters: Collection[Document]) -> None:
    """Make the indexes that are missing. Raises PyMongoError."""
    tasks.create_index(BACKLOG_INDEX, partialFilterExpression={"wake_at": {"$exists": True}})
    for name in OLD_BACKLOG_INDEXES:
        with suppress(OperationFailure):  # usually because it is gone already
            tasks.drop_index(name)
    tasks.create_index("expires_at", expireAfterSeconds=0)
    counters.create_index("expires_at", expireAfterSeconds=0)
