"""The digests of a body while it is read: the reader reads ahead, and other threads hash."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from tasks.digests import ALWAYS, Algorithm

# A body of no more takes no extra thread. Measured: with less the threads meet too often, more
# is no faster.
BUFFER_BYTES = 2**19
BUFFERS = 2  # one is filled and one is waiting, beside one for each algorithm that is hashed

_Buffers = SimpleQueue[memoryview | None]


class ReadAheadHash:
    """Hashes a few buffers that are reused, so that no byte of a body is copied.

    Each algorithm has a thread of its own, which hands a buffer on to the next one. The last one
    gives it back to the reader.
    """

    def __init__(self, algorithms: Sequence[Algorithm] = ALWAYS) -> None:
        self._hashes = {each: hashlib.new(each, usedforsecurity=False) for each in algorithms}
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._full: _Buffers = SimpleQueue()
        self._free: _Buffers = SimpleQueue()
        self._threads: list[tuple[threading.Thread, _Buffers]] = []  # with what each takes from

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
        for each in self._hashes.values():
            each.update(self._buffer[: self._filled])
        return {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}

    def close(self) -> None:
        """Let the threads end, when they have hashed what they were given."""
        for thread, source in self._threads:
            source.put(None)
            thread.join()
        self._threads.clear()

    def _hand_over(self) -> None:
        if not self._threads:
            self._start()
        self._full.put(self._buffer)
        buffer = self._free.get()
        assert buffer is not None
        self._buffer = buffer
        self._filled = 0

    def _start(self) -> None:
        for _ in range(BUFFERS + len(self._hashes) - 1):
            self._free.put(memoryview(bytearray(BUFFER_BYTES)))
        source = self._full
        for number, each in enumerate(self._hashes.values(), 1):
            target: _Buffers = self._free if number == len(self._hashes) else SimpleQueue()
            thread = threading.Thread(
                target=_hash, args=(each, source, target), name="hash", daemon=True
            )
            thread.start()
            self._threads.append((thread, source))
            source = target


def _hash(state: "hashlib._Hash", source: _Buffers, target: _Buffers) -> None:
    """Hash each buffer, and hand it on. A None ends it."""
    while (buffer := source.get()) is not None:
        state.update(buffer)
        target.put(buffer)
