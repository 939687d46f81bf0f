"""How many members of a batch a lane claims at once."""

# At most this many, if they are expected to take no longer than this.
MOST_CLAIMED = 32
CLAIMED_SECONDS = 0.2
MOST_HOSTS = 10_000


class Pace:
    """How fast downloads from each host were, as far as this worker has seen.

    The number for a host grows slowly and falls at once. It may be used from any thread.
    """

    def __init__(self) -> None:
        self._most: dict[str, int] = {}

    def most_claimed(self, host: str) -> int:
        """Return how many members of a host to claim next."""
        return self._most.get(host, 1)

    def record(self, host: str, seconds: float, *, may_grow: bool = True) -> None:
        """Take note of the time of one download, the mean of those claimed last.

        A failure is often quicker than a download, so the number must not grow after it.
        """
        if len(self._most) >= MOST_HOSTS:
            self._most.clear()  # it is learned again within a few claims
        expected = int(CLAIMED_SECONDS / max(seconds, CLAIMED_SECONDS / MOST_CLAIMED))
        most = self.most_claimed(host) * (2 if may_grow else 1)
        self._most[host] = max(1, min(most, expected))
