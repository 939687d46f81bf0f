"""The indexes of the collections `tasks` and `counters`, without those for members of batches."""

from contextlib import suppress

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tasks.stores.document import Document

# All that `backlog` asks for, and the name of the index that an earlier version made for it.
BACKLOG_INDEX = [("wake_at", 1), ("status", 1), ("submitted_at", 1), ("due_since", 1)]
OLD_BACKLOG_INDEX = "wake_at_1_status_1_submitted_at_1"


def create_indexes(tasks: Collection[Document], counters: Collection[Document]) -> None:
    """Make the indexes that are missing. Raises PyMongoError."""
    tasks.create_index(BACKLOG_INDEX, partialFilterExpression={"wake_at": {"$exists": True}})
    with suppress(OperationFailure):  # usually because it is gone already
        tasks.drop_index(OLD_BACKLOG_INDEX)
    tasks.create_index("expires_at", expireAfterSeconds=0)
    counters.create_index("expires_at", expireAfterSeconds=0)
