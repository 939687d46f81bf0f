"""The digests that can be computed, and the result of a download."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Self


class Algorithm(StrEnum):
    """A digest algorithm. Each is one row: its name in hashlib and in the API, and its label.

    `document_format` is the lowest format of a stored task that has such a digest.
    """

    label: str
    document_format: int

    def __new__(cls, value: str, label: str = "", document_format: int = 1) -> Self:
        algorithm = str.__new__(cls, value)
        algorithm._value_ = value
        algorithm.label = label
        algorithm.document_format = document_format
        return algorithm

    MD5 = "md5", "MD5"
    SHA1 = "sha1", "SHA-1", 2
    SHA256 = "sha256", "SHA-256", 2
    SHA512 = "sha512", "SHA-512", 2

    @property
    def hex_digits(self) -> int:
        """The length of a digest in hexadecimal digits."""
        return 2 * hashlib.new(self.value, usedforsecurity=False).digest_size


def label_of(name: str) -> str:
    """Return how people write the name of a digest, or of the size."""
    return Algorithm(name).label if name in set(Algorithm) else name


# The algorithms of every download.
ALWAYS = (Algorithm.MD5,)


@dataclass(frozen=True, slots=True)
class Digest:
    """The result of a download. `size` is in bytes, `hexdigests` are in lower case."""

    hexdigests: Mapping[Algorithm, str]
    size: int
    final_url: str
    is_length_verified: bool  # False: the origin stated no length, so truncation is undetectable

    @property
    def md5(self) -> str:
        return self.hexdigests[Algorithm.MD5]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client expects of a download: any digests, in lower case, and a size in bytes."""

    hexdigests: Mapping[Algorithm, str] = field(default_factory=lambda: MappingProxyType({}))
    size: int | None = None

    @property
    def is_something(self) -> bool:
        return bool(self.hexdigests) or self.size is not None

    def mismatches(self, digest: Digest) -> list[str]:
        """Return the names of all digests that differ, and "size" if that does."""
        differing = [
            each.value
            for each, text in self.hexdigests.items()
            if digest.hexdigests.get(each) != text
        ]
        return differing if self.size in (None, digest.size) else [*differing, "size"]


NOTHING_EXPECTED = Expected()
