import asyncio

import pytest

from service.errors import RefusedError
from service.large_bodies import LargeBodies


def test_client_waits_for_its_own_bodies_and_all_wait_for_the_rest() -> None:
    async def scenario() -> list[list[str]]:
        bodies, entered = LargeBodies(most=3, most_of_client=2), list[str]()

        async def enter(connection: str) -> None:
            await bodies.enter(connection, client=connection[0])
            entered.append(connection)

        tasks = [asyncio.create_task(enter(each)) for each in ("a1", "a2", "a3", "b1", "c1")]
        seen = []
        for left in ("", "b1", "a1", "a1"):  # it may leave twice
            bodies.leave(left)
            for _ in range(5):
                await asyncio.sleep(0)
            seen.append(list(entered))
        for task in tasks:
            task.cancel()
        return seen

    at_first, after_b1, after_a1, after_nothing = asyncio.run(scenario())
    assert at_first == ["a1", "a2", "b1"]
    assert after_b1 == [*at_first, "c1"]
    assert after_a1 == [*after_b1, "a3"]
    assert after_nothing == after_a1


def test_wait_for_a_place_has_an_end() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_client=1, patience=0.01)
        await bodies.enter("first", "a")
        with pytest.raises(RefusedError) as caught:
            await bodies.enter("second", "b")
        assert caught.value.headers == {"Retry-After": "5"}
        bodies.leave("second")
        bodies.leave("first")
        await bodies.enter("third", "c")

    asyncio.run(scenario())


def test_client_that_leaves_while_it_waits_holds_no_place() -> None:
    async def scenario() -> None:
        bodies = LargeBodies(most=1, most_of_client=1)
        await bodies.enter("first", "a")
        waiting = asyncio.create_task(bodies.enter("second", "b"))
        await asyncio.sleep(0)
        waiting.cancel()
        bodies.leave("second")
        bodies.leave("first")
        await asyncio.wait_for(bodies.enter("third", "c"), timeout=10)

    asyncio.run(scenario())
