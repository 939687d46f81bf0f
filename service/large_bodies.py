"""Limits how many bodies that may hold a list are in memory at once."""

import asyncio
from collections.abc import Hashable
from http import HTTPStatus

from service.errors import RefusedError

MOST = 32
MOST_OF_CLIENT = 4
PATIENCE_SECONDS = 20.0  # shorter than REQUEST_TIMEOUT by default
RETRY_SECONDS = 5


class LargeBodies:
    """Bodies that are being read or handled. Others wait for their turn.

    While one waits, the service reads only a small part of it.
    """

    def __init__(
        self,
        most: int = MOST,
        most_of_client: int = MOST_OF_CLIENT,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Allow `most` bodies in all, and `most_of_client` of each client."""
        self._most = most
        self._most_of_client = most_of_client
        self._patience = patience
        self._clients: dict[Hashable, str] = {}  # by connection
        self._freed = asyncio.Event()

    async def enter(self, connection: Hashable, client: str) -> None:
        """Wait until the body of a connection may be read.

        Raises RefusedError if that takes too long.
        """
        try:
            async with asyncio.timeout(self._patience):
                while self._is_full(client):
                    await self._freed.wait()
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_lists",
                "Too many lists are being submitted. Please try again.",
                {"Retry-After": str(RETRY_SECONDS)},
            ) from None
        self._clients[connection] = client

    def leave(self, connection: Hashable) -> None:
        """Forget the body of a connection, if it has a large one."""
        if self._clients.pop(connection, None) is not None:
            self._freed.set()
            self._freed = asyncio.Event()

    def _is_full(self, client: str) -> bool:
        clients = list(self._clients.values())
        return len(clients) >= self._most or clients.count(client) >= self._most_of_client
