"""How long a request waits for the store and the broker."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sanic import Request

from tasks.errors import StoreUnavailableError

# How long a request waits for the store, whose driver tries twice, for longer.
STORE_SECONDS = 5.0
BATCH_SECONDS = 30.0  # for operations whose time grows with the batch
CHECK_SECONDS = 1.5  # how long a question about the health waits for store and broker

Result = TypeVar("Result")


async def in_thread(
    request: Request, call: Callable[[], Result], seconds: float = STORE_SECONDS
) -> Result:
    """Call what waits for the store off the event loop. Raises what `in_time` raises."""
    threads = request.app.ctx.store_threads
    return await in_time(asyncio.get_running_loop().run_in_executor(threads, call), seconds)


async def in_time(answer: Awaitable[Result], seconds: float = STORE_SECONDS) -> Result:
    """Wait for the store for a limited time. A call that has begun may still complete.

    Raises StoreUnavailableError.
    """
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        raise StoreUnavailableError("no answer in time") from None


async def answers_in_time(request: Request, check: Callable[[], bool]) -> bool:
    """Return the outcome of a check in a thread of its own kind; False if it takes too long."""
    threads = request.app.ctx.check_threads
    future = asyncio.get_running_loop().run_in_executor(threads, check)
    try:
        return await asyncio.wait_for(future, CHECK_SECONDS)
    except TimeoutError:
        return False
