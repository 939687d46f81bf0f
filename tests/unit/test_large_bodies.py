import asyncio

import pytest

from service.errors import RefusedError
from service.large_bodies import LargeBodies


async def is_refused(bodies: LargeBodies, connection: str) -> bool:
    """Whether a body waits in vain. The client is the first letter of the connection."""
    try:
        await bodies.enter(connection, client=connection[0])
    except RefusedError:
        return True
    return False


def test_client_and_all_clients_together_have_a_number_of_places() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=3, most_of_client=2, patience=0.01)
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
            await bodies.enter("d1", client="d")
        assert caught.value.headers == {"Retry-After": "5"}

    asyncio.run(scenario())


def test_body_that_waits_gets_the_place_of_one_that_leaves() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_client=1)

        async def leave() -> None:
            bodies.leave("first")

        await bodies.enter("first", "a")
        await asyncio.gather(bodies.enter("second", "b"), leave())

    asyncio.run(scenario())


def test_client_that_leaves_while_it_waits_holds_no_place() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_client=1)
        await bodies.enter("first", "a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bodies.enter("second", "b"), timeout=0.01)
        bodies.leave("first")
        await bodies.enter("third", "c")

    asyncio.run(scenario())
