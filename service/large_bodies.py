"""Limits how many large bodies are in memory at once."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from http import HTTPStatus
from itertools import chain

from service.errors import RefusedError

MOST = 32
MOST_OF_CLIENT = 4
MOST_OF_SITE = 16  # of a /48 of IPv6, which may have several clients
PATIENCE_SECONDS = 20.0  # shorter than REQUEST_TIMEOUT by default
RETRY_SECONDS = 5


class LargeBodies:
    """Bodies that are being read or handled. Others wait for their turn.

    While one waits, the service reads only a small part of it.
    """

    def __init__(
        self,
        most: int = MOST,
        most_of_network: Sequence[int] = (MOST_OF_CLIENT, MOST_OF_SITE),
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Allow `most` bodies in all, and of each network of a client, the narrowest first."""
        self._most = most
        self._most_of_network = most_of_network
        self._patience = patience
        self._networks: dict[Hashable, tuple[str, ...]] = {}  # by connection
        self._freed = asyncio.Event()

    async def enter(self, connection: Hashable, networks: tuple[str, ...]) -> None:
        """Wait until the body of a connection may be read further. It may be repeated.

        `networks` are those of the client. Raises RefusedError if it takes too long.
        """
        if connection in self._networks:
            return
        try:
            async with asyncio.timeout(self._patience):
                while self._is_full(networks):
                    await self._freed.wait()
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_lists",
                "Too many lists are being submitted. Please try again.",
                {"Retry-After": str(RETRY_SECONDS)},
            ) from None
        self._networks[connection] = networks

    def leave(self, connection: Hashable) -> None:
        """Forget the body of a connection, if it has a large one."""
        if self._networks.pop(connection, None) is not None:
            self._freed.set()
            self._freed = asyncio.Event()

    def _is_full(self, networks: tuple[str, ...]) -> bool:
        if len(self._networks) >= self._most:
            return True
        taken = Counter(chain.from_iterable(self._networks.values()))
        # An IPv4 address is its only network.
        limits = zip(networks, self._most_of_network, strict=False)
        return any(taken[network] >= most for network, most in limits)
