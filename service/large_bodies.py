"""The bodies that are too large for a single submission: how many are in memory at once."""

import asyncio
from collections.abc import Hashable

MOST = 32
MOST_OF_CLIENT = 4


class LargeBodies:
    """Bodies of lists that are being read or handled. Others wait for their turn.

    While one waits, the service reads only a small part of it.
    """

    def __init__(self, most: int = MOST, most_of_client: int = MOST_OF_CLIENT) -> None:
        """Allow `most` bodies in all, and `most_of_client` of each client."""
        self._most = most
        self._most_of_client = most_of_client
        self._clients: dict[Hashable, str] = {}  # by connection
        self._freed = asyncio.Event()

    async def enter(self, connection: Hashable, client: str) -> None:
        """Wait until the body of a connection may be read."""
        while self._is_full(client):
            await self._freed.wait()
        self._clients[connection] = client

    def leave(self, connection: Hashable) -> None:
        """Forget the body of a connection, if it has a large one."""
        if self._clients.pop(connection, None) is not None:
            self._freed.set()
            self._freed = asyncio.Event()

    def _is_full(self, client: str) -> bool:
        open_ones = list(self._clients.values())
        return len(open_ones) >= self._most or open_ones.count(client) >= self._most_of_client
