"""The digests of a body while it is read: the reader reads ahead, and another thread hashes."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from tasks.digests import ALWAYS, Algorithm

# A body of no more takes no extra thread. Measured: with less the threads meet too often, more
# is no faster.
BUFFER_BYTES = 2**19
BUFFERS = 3  # one is filled, one is hashed, and one is waiting


class ReadAheadHash:
    """Hashes a few buffers that are reused, so that no byte of a body is copied."""

    def __init__(self, algorithms: Sequence[Algorithm] = ALWAYS) -> None:
        self._hashes = {each: hashlib.new(each, usedforsecurity=False) for each in algorithms}
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[memoryview | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def read(self, read_into: Callable[[memoryview], int]) -> int:
        """Have a function read into a buffer once; how many bytes it says it has read."""
        size = read_into(self._buffer[self._filled :])
        self._filled += size
        if self._filled == BUFFER_BYTES:
            self._hand_over()
        return size

    def hexdigests(self) -> dict[Algorithm, str]:
        """Return the digests of everything that was read. Nothing may be read afterwards."""
        self.close()
        self._update(self._buffer[: self._filled])
        return {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}

    def close(self) -> None:
        """Let the thread end, when it has hashed what it was given."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def _hand_over(self) -> None:
        if self._thread is None:
            for _ in range(BUFFERS - 1):
                self._free.put(memoryview(bytearray(BUFFER_BYTES)))
            self._thread = threading.Thread(target=self._hash, name="hash", daemon=True)
            self._thread.start()
        self._full.put(self._buffer)
        self._buffer = self._free.get()
        self._filled = 0

    def _hash(self) -> None:
        while (buffer := self._full.get()) is not None:
            self._update(buffer)
            self._free.put(buffer)

    def _update(self, data: memoryview) -> None:
        for each in self._hashes.values():
            each.update(data)
