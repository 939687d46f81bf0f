"""Small chunks are taken together, and read by the same rules as chunks of any other size."""

import hashlib
import random
from collections.abc import Callable

import pytest

from devtools.servers.raw_origin import CHUNKED, RawOrigin, chunked
from fetch.download import download
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LIMITS, Fetch

Originate = Callable[..., RawOrigin]

BUFFER = 8192  # of what is read behind a line
LINE_ENDS = [b"\r\n", b"\r\n", b"\n"]
EXTENSIONS = [b"", b"", b" \t", b";", b';a="b\r"', b" ;" + b"x" * 100, b";" + b"x" * 101]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sizes", [[1], [1, 2, 3], [1, 100, BUFFER - 9, BUFFER, BUFFER + 1]])
def test_any_lines_and_sizes(
    sizes: list[int], seed: int, originate: Originate, fetch: Fetch
) -> None:
    chance = random.Random(seed)
    body, answer = b"", CHUNKED
    for _ in range(chance.randrange(1, 300)):
        chunk = chance.choice([b"\r\n1\r\nx", b"x"]) * chance.choice(sizes)
        size = b"%0*x" % (chance.choice([1, 1, 15]), len(chunk))
        answer += size + chance.choice(EXTENSIONS) + chance.choice(LINE_ENDS)
        answer += chunk + chance.choice(LINE_ENDS)
        body += chunk
    answer += b"0\r\n\r\n"
    cut = chance.randrange(len(answer))
    origin = originate([answer[:cut], answer[cut:]], [answer[:cut]])
    digest = fetch(origin.base)
    assert (digest.md5, digest.size) == (hashlib.md5(body).hexdigest(), len(body))
    assert fetch.code(origin.base) is FailureCode.INCOMPLETE_BODY


@pytest.mark.parametrize(
    "damage",
    [b"\r\n1\r\nxx", b"\r\n3\r\nx", b"\r\n-1\r\nx", b"\r\n\r\nx", b"\r\n1\r\r\nx", b"1\r\nx",
     b"\r\n+1\r\nx", b"\r\n1_0\r\nx", b"\r\n" + b"0" * 15 + b"1\r\nx", b"\r\n1 x\r\nx"],
)  # fmt: skip
@pytest.mark.parametrize("before", [1, 2, 1000, 1363, 1364, 1365])
def test_a_damaged_chunk_among_good_ones(
    before: int, damage: bytes, originate: Originate, fetch: Fetch
) -> None:
    chunks = chunked(*[b"x"] * before).removesuffix(b"\r\n0\r\n\r\n")
    origin = originate([CHUNKED + chunks + damage + b"\r\n1\r\nx" * 1000 + b"\r\n0\r\n\r\n"])
    assert fetch.code(origin.base) is FailureCode.PROTOCOL_ERROR


def test_small_chunks_are_taken_together(originate: Originate, fetch: Fetch) -> None:
    """Read one by one, chunks of one byte would occupy a core at 1.5 MB/s."""
    chunks = 10**5
    answer = CHUNKED + chunked(*[b"x"] * chunks)
    reads: list[int] = []
    digest = download(
        originate([answer]).base,
        fetch.transport,
        LIMITS,
        progress=lambda done, _total: reads.append(done),
    )
    assert digest.size == reads[-1] == chunks
    assert len(reads) < chunks / 20


def test_framing_of_small_chunks_is_bounded(originate: Originate, fetch: Fetch) -> None:
    much = b"1;" + b"x" * 99 + b"\r\nx\r\n"
    origin = originate([CHUNKED + much * 10**5 + b"0\r\n\r\n"])
    assert fetch.code(origin.base) is FailureCode.PROTOCOL_ERROR


def test_framing_of_small_chunks_counts_into_the_size(originate: Originate, fetch: Fetch) -> None:
    some = b"1;" + b"x" * 8 + b"\r\nx\r\n"
    origin = originate([CHUNKED + some * 10**5 + b"0\r\n\r\n"])
    assert fetch(origin.base).size == 10**5
    assert fetch.code(origin.base, max_bytes=2 * 10**5) is FailureCode.TOO_LARGE
