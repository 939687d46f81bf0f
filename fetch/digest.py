"""The digests of a body while it is read: the reader reads ahead, and other threads hash."""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from tasks.digests import ALWAYS, Algorithm

# A body of no more takes no extra thread. Measured: with less the threads meet too often, more
# is no faster.
BUFFER_BYTES = 2**19
# The buffers of a download that reads ahead, and there is one more for each algorithm. Fewer leave
# a core idle when the operating system runs the reader and the hash in long turns.
BUFFERS = 8

_Buffers = SimpleQueue[memoryview | None]

# Buffers of downloads that have ended, one of each. A new one is filled with zeros first, which
# takes longer than to read and hash a small file.
_kept: deque[memoryview] = deque(maxlen=64)
_NO_BUFFER = memoryview(b"")

# At most as many downloads as there are cores read ahead. Further ones hash in the thread that
# reads, because more threads would only compete for the cores.
_READING_AHEAD = threading.BoundedSemaphore(os.cpu_count() or 1)


class ReadAheadHash:
    """Hashes a few buffers that are reused, so that no byte of a body is copied.

    Each algorithm has a thread of its own, which hands a buffer on to the next one. The last one
    gives it back to the reader. There are no threads, and the reader hashes, while others have all
    `slots`, or while the machine allows no more threads.
    """

    def __init__(
        self,
        algorithms: Sequence[Algorithm] = ALWAYS,
        slots: threading.BoundedSemaphore = _READING_AHEAD,
    ) -> None:
        self._hashes = {each: hashlib.new(each, usedforsecurity=False) for each in algorithms}
        self._slots = slots
        self._buffer = _take_buffer()
        self._filled = 0
        self._full: _Buffers = SimpleQueue()
        self._free: _Buffers = SimpleQueue()
        self._spare = 0  # buffers that may still be made
        self._threads: list[tuple[threading.Thread, _Buffers]] = []  # with what each takes from

    def read(self, read_into: Callable[[memoryview], int]) -> int:
        """Have a function read into a buffer once; how many bytes it says it has read."""
        size = read_into(self._buffer[self._filled :])
        self._filled += size
        if self._filled == BUFFER_BYTES:
            if self._threads or self._start():
                self._hand_over()
            else:
                self._hash_here()
        return size

    def hexdigests(self) -> dict[Algorithm, str]:
        """Return the digests of everything that was read. Nothing may be read afterwards."""
        self.pause()
        self._hash_here()
        self.close()
        return {algorithm: each.hexdigest() for algorithm, each in self._hashes.items()}

    def close(self) -> None:
        """End the threads, and give the buffer to a later download. It may be repeated."""
        self.pause()
        if self._buffer:
            _kept.append(self._buffer)
            self._buffer = _NO_BUFFER

    def pause(self) -> None:
        """End the threads once they have hashed what they were given, and leave the slot to others.

        All buffers but one are released. The threads start again when there is more to hash.
        """
        if self._threads:
            self._end_threads()
            self._slots.release()

    def _start(self) -> bool:
        """Start the threads, if there is a slot. Return whether they run."""
        if not self._slots.acquire(blocking=False):
            return False
        self._spare = BUFFERS + len(self._hashes) - 1
        source = self._full
        try:
            for number, each in enumerate(self._hashes.values(), 1):
                target: _Buffers = self._free if number == len(self._hashes) else SimpleQueue()
                thread = threading.Thread(
                    target=_hash, args=(each, source, target), name="hash", daemon=True
                )
                thread.start()
                self._threads.append((thread, source))
                source = target
        except RuntimeError:  # the machine allows no more threads
            self._end_threads()
            self._slots.release()
        return bool(self._threads)

    def _end_threads(self) -> None:
        for thread, source in self._threads:
            source.put(None)
            thread.join()
        self._threads.clear()
        self._free = SimpleQueue()

    def _hash_here(self) -> None:
        for each in self._hashes.values():
            each.update(self._buffer[: self._filled])
        self._filled = 0

    def _hand_over(self) -> None:
        self._full.put(self._buffer)
        self._buffer = self._take_free()
        self._filled = 0

    def _take_free(self) -> memoryview:
        """Return a buffer that is hashed, or a new one. If there are enough of them, wait."""
        try:
            buffer = self._free.get(block=self._spare == 0)
        except Empty:
            self._spare -= 1
            return _make_buffer()
        assert buffer is not None
        return buffer


def _take_buffer() -> memoryview:
    try:
        return _kept.pop()
    except IndexError:
        return _make_buffer()


def _make_buffer() -> memoryview:
    return memoryview(bytearray(BUFFER_BYTES))


def _hash(state: "hashlib._Hash", source: _Buffers, target: _Buffers) -> None:
    """Hash each buffer, and hand it on. A None ends it."""
    while (buffer := source.get()) is not None:
        state.update(buffer)
        target.put(buffer)
