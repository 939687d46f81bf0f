"""The result of a computation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Digest:
    """The result of a download. `size` is in bytes."""

    md5: str
    size: int
    final_url: str
    is_length_verified: bool  # False: the origin stated no length, so truncation is undetectable
