"""Opening the store that the settings name."""

from settings import Settings
from tasks.stores.contract import TaskStore


def open_store(settings: Settings) -> TaskStore:
    """The store that the settings name: MongoDB, or a SQLite file without MONGODB_URL."""
    if settings.mongodb_url is not None:
        from tasks.stores.mongodb import MongoStore  # noqa: PLC0415  pymongo costs 0.1 s where it is not used

        return MongoStore.connect(settings.mongodb_url)
    from tasks.stores.sqlite import SQLiteStore  # noqa: PLC0415

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SQLiteStore(settings.data_dir / "tasks.sqlite3")
