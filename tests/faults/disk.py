"""A disk has no space left."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK = bytes(4096)


@contextmanager
def full(disk: Path, *, left: int = 0) -> Iterator[None]:
    """Fill a small disk up to the last `left` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):  # no space left on device
            while True:
                file.write(BLOCK)
        assert file.tell() > left
        file.truncate(file.tell() - left)
    try:
        yield
    finally:
        filler.unlink()
