"""Reading the members of a batch page by page."""

from collections.abc import Callable, Iterator

from tasks.stores.contract import Order
from tasks.task import Task


def in_pages(read: Callable[[int], list[Task]], order: Order) -> Iterator[list[Task]]:
    """Return all pages. `read` returns the page after a number in the order, from -1."""
    after = -1
    while page := read(after):
        yield page
        after = getattr(page[-1].member, order)
