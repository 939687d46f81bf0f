import hashlib
import random
import threading
from collections.abc import Callable, Sequence

import pytest

from fetch.digest import BUFFER_BYTES, ReadAheadHash
from tasks.digests import ALWAYS, Algorithm


def reader(body: bytes, most: int) -> Callable[[memoryview], int]:
    """Reads a body in pieces of up to so many bytes, as a socket does."""
    left = memoryview(body)

    def read_into(buffer: memoryview) -> int:
        nonlocal left
        size = min(len(buffer), len(left), random.randint(1, most))
        buffer[:size] = left[:size]
        left = left[size:]
        return size

    return read_into


def digests(
    body: bytes, most: int, algorithms: Sequence[Algorithm] = ALWAYS
) -> dict[Algorithm, str]:
    read_into, ahead = reader(body, most), ReadAheadHash(algorithms)
    while ahead.read(read_into):
        pass
    return ahead.hexdigests()


SIZES = [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 7 * BUFFER_BYTES, 10**7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [2000, BUFFER_BYTES // 3, 10**8])
@pytest.mark.parametrize("algorithms", [ALWAYS, (Algorithm.MD5, Algorithm.SHA256), list(Algorithm)])
def test_digests_are_those_of_hashlib(
    size: int, most: int, algorithms: Sequence[Algorithm]
) -> None:
    body = random.Random(size).randbytes(size)
    assert digests(body, most, algorithms) == {
        each: hashlib.new(each.value, body).hexdigest() for each in algorithms
    }


def test_a_download_takes_over_the_buffer_of_one_that_has_ended() -> None:
    seen: list[int] = []

    def note(buffer: memoryview) -> int:
        seen.append(id(buffer.obj))
        return 0

    for _ in range(3):
        ahead = ReadAheadHash()
        ahead.read(note)
        ahead.close()
        ahead.close()
    first, second = ReadAheadHash(), ReadAheadHash()
    first.read(note)
    second.read(note)
    assert len(set(seen)) == 2
    assert len(set(seen[:4])) == 1


@pytest.mark.parametrize("algorithms", [ALWAYS, list(Algorithm)])
def test_more_downloads_than_slots_hash_in_their_own_threads(
    algorithms: Sequence[Algorithm],
) -> None:
    before = hashing_threads()
    slots = threading.BoundedSemaphore(2)
    bodies = [random.Random(number).randbytes(5 * BUFFER_BYTES + 7) for number in range(4)]
    under_way = [(ReadAheadHash(algorithms, slots), reader(body, 10**6)) for body in bodies]
    for ahead, read_into in under_way:
        read_a_buffer(ahead, read_into)
    assert len(hashing_threads() - before) == 2 * len(algorithms)

    results = []
    for ahead, read_into in under_way:
        while ahead.read(read_into):
            pass
        results.append(ahead.hexdigests())
        for other, read_more in under_way[len(results) :]:
            read_a_buffer(other, read_more)
        left = len(bodies) - len(results)
        assert len(hashing_threads() - before) == min(2, left) * len(algorithms)
    assert results == [
        {each: hashlib.new(each.value, body).hexdigest() for each in algorithms} for body in bodies
    ]


def test_a_download_that_pauses_leaves_its_slot_to_others() -> None:
    slots, body = threading.BoundedSemaphore(1), random.Random(0).randbytes(4 * BUFFER_BYTES)
    read_into, ahead = reader(body, 10**6), ReadAheadHash(slots=slots)
    read_a_buffer(ahead, read_into)
    assert not slots.acquire(blocking=False)
    ahead.pause()
    assert ahead._free.empty()
    assert slots.acquire(blocking=False)
    slots.release()
    while ahead.read(read_into):
        pass
    assert ahead.hexdigests() == {Algorithm.MD5: hashlib.md5(body).hexdigest()}


@pytest.mark.parametrize("started", [0, 1, 3])
def test_without_further_threads_the_reader_hashes(
    started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, calls = threading.Thread.start, []

    def fail_after_some(thread: threading.Thread) -> None:
        calls.append(thread)
        if len(calls) > started:
            raise RuntimeError("can't start new thread")
        start(thread)

    before, slots = hashing_threads(), threading.BoundedSemaphore(1)
    body = random.Random(0).randbytes(4 * BUFFER_BYTES + 1)
    read_into, ahead = reader(body, 10**6), ReadAheadHash(list(Algorithm), slots)
    monkeypatch.setattr(threading.Thread, "start", fail_after_some)
    while ahead.read(read_into):
        assert hashing_threads() <= before
    assert ahead.hexdigests() == {
        each: hashlib.new(each.value, body).hexdigest() for each in Algorithm
    }
    assert slots.acquire(blocking=False)


def read_a_buffer(ahead: ReadAheadHash, read_into: Callable[[memoryview], int]) -> None:
    size = 0
    while size < BUFFER_BYTES:
        size += ahead.read(read_into)


def hashing_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "hash"}


def test_a_small_body_takes_no_thread() -> None:
    ahead, before = ReadAheadHash(), hashing_threads()
    read_into = reader(b"x" * (BUFFER_BYTES - 1), BUFFER_BYTES)
    while ahead.read(read_into):
        assert hashing_threads() <= before


@pytest.mark.parametrize("algorithms", [ALWAYS, list(Algorithm)])
def test_no_thread_is_left(algorithms: Sequence[Algorithm]) -> None:
    before = hashing_threads()
    digests(bytes(3 * BUFFER_BYTES), BUFFER_BYTES, algorithms)
    broken_off = ReadAheadHash(algorithms)
    read_into = reader(bytes(BUFFER_BYTES), 10**8)
    while broken_off.read(read_into):
        pass
    assert len(hashing_threads() - before) == len(algorithms)
    broken_off.close()
    assert hashing_threads() <= before
