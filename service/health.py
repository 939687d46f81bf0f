"""GET /health/live and /health/ready: whether the process answers, and whether it can work."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Literal, TypedDict

from sanic import HTTPResponse, Request, json

from service.deadlines import CHECK_SECONDS, answers_in_time
from settings import VERSION
from tasks.errors import StoreUnavailableError
from tasks.stores.contract import TaskStore

Reachability = Literal["ok", "unreachable"]


class LiveBody(TypedDict):
    """The process answers."""

    status: Literal["ok"]
    version: str


class ReadyBody(TypedDict):
    """What the service needs. Without the broker it is ready: tasks wait for it."""

    status: Literal["ok", "unavailable"]
    store: Reachability
    broker: Reachability
    version: str


async def live(_request: Request) -> HTTPResponse:
    """Answer 200."""
    body: LiveBody = {"status": "ok", "version": VERSION}
    return json(body)


async def ready(request: Request) -> HTTPResponse:
    """Answer 200 if the store answers, else 503."""
    ctx = request.app.ctx
    is_store_there, is_broker_there = await asyncio.gather(
        answers_in_time(request, partial(pings, ctx.store)),
        answers_in_time(request, partial(ctx.dispatcher.is_broker_reachable, CHECK_SECONDS)),
    )
    body: ReadyBody = {
        "status": "ok" if is_store_there else "unavailable",
        "store": "ok" if is_store_there else "unreachable",
        "broker": "ok" if is_broker_there else "unreachable",
        "version": VERSION,
    }
    status = HTTPStatus.OK if is_store_there else HTTPStatus.SERVICE_UNAVAILABLE
    return json(body, status=status)


def pings(store: TaskStore) -> bool:
    """Return whether the store answers."""
    try:
        store.ping()
    except StoreUnavailableError:
        return False
    return True
