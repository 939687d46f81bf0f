"""The digests that can be computed, and the result of a download."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Self


class Algorithm(StrEnum):
    """A digest algorithm. Each is one row: its name in hashlib and in the API, and its label.

    `document_format` is the lowest format of a stored task that has such a digest. `http_name` is
    its name in HTTP headers, "" if it has none:
    https://www.iana.org/assignments/http-digest-hash-alg
    """

    label: str
    document_format: int
    http_name: str

    def __new__(
        cls, value: str, label: str = "", document_format: int = 1, http_name: str = ""
    ) -> Self:
        algorithm = str.__new__(cls, value)
        algorithm._value_ = value
        algorithm.label = label
        algorithm.document_format = document_format
        algorithm.http_name = http_name
        return algorithm

    MD5 = "md5", "MD5", 1, "md5"
    SHA1 = "sha1", "SHA-1", 2, "sha"
    SHA256 = "sha256", "SHA-256", 2, "sha-256"
    SHA512 = "sha512", "SHA-512", 2, "sha-512"

    @property
    def hex_digits(self) -> int:
        """The length of a digest in hexadecimal digits."""
        return 2 * hashlib.new(self.value, usedforsecurity=False).digest_size


def label_of(name: str) -> str:
    """Return how people write the name of a digest, or of the size."""
    return next((each.label for each in Algorithm if each.value == name), name)


# The algorithms of every download.
ALWAYS = (Algorithm.MD5,)


@dataclass(frozen=True, slots=True)
class Digest:
    """The result of a download. `size` is in bytes, digests are in lower case.

    `declared` are digests that the origin stated, of the algorithms that were computed.
    """

    hexdigests: Mapping[Algorithm, str]
    size: int
    final_url: str
    is_length_verified: bool  # False: the origin stated no length, so truncation is undetectable
    declared: Mapping[Algorithm, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_confirmed(self) -> bool | None:
        """Whether everything that the origin declared is so; None if it declared nothing."""
        if not self.declared:
            return None
        return all(self.hexdigests.get(each) == text for each, text in self.declared.items())

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
