"""The open connections of each client, and their limit."""

import resource
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from service.client_networks import SITE_CLIENTS


class Connection(Protocol):
    """A connection of a client."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""

    def drop(self) -> None:
        """Close an idle connection."""


class Peers:
    """Counts the open connections of each client of this process.

    A client that reaches its limit loses its oldest idle connection to its next one. If none of
    them is idle, the next one is refused.
    """

    def __init__(self, most: int) -> None:
        """Allow each client `most` connections; 0 for no limit."""
        self._most = most
        # By network, and in the order in which they came.
        self._open: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._networks: dict[Connection, Sequence[str]] = {}
        # The other descriptors are for the store, the broker and downloads.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_in_all = descriptors // 2 if descriptors > 0 else None

    def enter(self, connection: Connection, networks: Sequence[str]) -> bool:
        """Count one more connection of a client. Return False, uncounted, if it is one too many.

        `networks` are those of the client, the narrowest first.
        """
        if self._most_in_all is not None and len(self._networks) >= self._most_in_all:
            return False
        most = self._most
        for network in networks if most else ():
            if len(self._open.get(network, ())) >= most and not self._drop_idle(network):
                return False
            most *= SITE_CLIENTS
        for network in networks:
            self._open[network][connection] = None
        self._networks[connection] = networks
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection, if it is counted."""
        for network in self._networks.pop(connection, ()):
            del self._open[network][connection]
            if not self._open[network]:
                del self._open[network]

    def _drop_idle(self, network: str) -> bool:
        idle = next((each for each in self._open[network] if each.is_idle), None)
        if idle is None:
            return False
        self.leave(idle)
        idle.drop()
        return True
