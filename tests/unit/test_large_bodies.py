import asyncio

import pytest

from service.errors import RefusedError
from service.large_bodies import LargeBodies


async def is_refused(bodies: LargeBodies, connection: str) -> bool:
    """Whether a body waits in vain. The client is the first letter of the connection."""
    try:
        await bodies.enter(connection, (connection[0],))
    except RefusedError:
        return True
    return False


def test_client_and_all_clients_together_have_a_number_of_places() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=3, most_of_network=[2], patience=0.01)
        refused = [
            each for each in ("a1", "a2", "a3", "b1", "c1") if await is_refused(bodies, each)
        ]
        assert refused == ["a3", "c1"]
        bodies.leave("b1")
        assert not await is_refused(bodies, "c1")
        bodies.leave("a1")
        bodies.leave("a1")  # it has left already
        assert not await is_refused(bodies, "a3")
        with pytest.raises(RefusedError) as caught:
            await bodies.enter("d1", ("d",))
        assert caught.value.headers == {"Retry-After": "5"}

    asyncio.run(scenario())


def test_body_that_waits_gets_the_place_of_one_that_leaves() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_network=[1])

        async def leave() -> None:
            bodies.leave("first")

        await bodies.enter("first", ("a",))
        await asyncio.gather(bodies.enter("second", ("b",)), leave())

    asyncio.run(scenario())


def test_client_that_leaves_while_it_waits_holds_no_place() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_network=[1])
        await bodies.enter("first", ("a",))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bodies.enter("second", ("b",)), timeout=0.01)
        bodies.leave("first")
        await bodies.enter("third", ("c",))

    asyncio.run(scenario())


def test_networks_of_a_client_have_a_number_of_places_each() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=9, most_of_network=[2, 3], patience=0.01)
        subscribers = {"a": ("a", "site"), "b": ("b", "site"), "c": ("c", "another site")}
        refused = []
        for connection in ("a1", "a2", "a3", "b1", "b2", "c1"):
            try:
                await bodies.enter(connection, subscribers[connection[0]])
            except RefusedError:
                refused.append(connection)
        assert refused == ["a3", "b2"]

    asyncio.run(scenario())


def test_body_that_has_a_place_does_not_wait_again() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_network=[1], patience=0.01)
        await bodies.enter("first", ("a",))
        await bodies.enter("first", ("a",))

    asyncio.run(scenario())
