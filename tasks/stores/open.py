"""Opening the store that the settings name."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from settings import Settings
from tasks.stores.contract import TaskStore

# By the scheme of the URL: the module whose `open_store` opens such a store. It is imported only
# if it is used, since pymongo costs 0.1 s.
STORES: Mapping[str, str] = MappingProxyType(
    {
        "mongodb": "tasks.stores.mongodb",
        "mongodb+srv": "tasks.stores.mongodb",
        "sqlite": "tasks.stores.sqlite",
    }
)


def open_store(settings: Settings) -> TaskStore:
    """Return the store at `settings.store_url`. Raises StoreUnavailableError."""
    scheme = settings.store_url.partition(":")[0]
    store: TaskStore = import_module(STORES[scheme]).open_store(settings)
    return store
