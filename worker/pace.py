"""How fast hosts are, and so how many members of a batch a lane claims at once."""

# At most this many, if they are expected to take no longer than this.
MOST_CLAIMED = 32
CLAIMED_SECONDS = 0.2
MOST_HOSTS = 10_000
UNKNOWN = (1, 0.0)


class Pace:
    """How fast downloads from each host were, as far as this worker has seen.

    The number for a host grows slowly and falls at once. It may be used from any thread.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[int, float]] = {}  # the number, and the last time

    def most_claimed(self, host: str) -> int:
        """Return how many members of a host to claim next."""
        return self._hosts.get(host, UNKNOWN)[0]

    def seconds(self, host: str) -> float:
        """Return the time of the last download from a host; 0.0 if none is known."""
        return self._hosts.get(host, UNKNOWN)[1]

    def record(self, host: str, seconds: float, *, may_grow: bool = True) -> None:
        """Take note of the time of one download, the mean of those claimed last.

        A failure is often quicker than a download, so the number must not grow after it.
        """
        if len(self._hosts) >= MOST_HOSTS:
            self._hosts.clear()  # it is learned again within a few claims
        expected = int(CLAIMED_SECONDS / max(seconds, CLAIMED_SECONDS / MOST_CLAIMED))
        most = self.most_claimed(host) * (2 if may_grow else 1)
        self._hosts[host] = max(1, min(most, expected)), seconds
