"""The digests that can be computed, and the result of a download."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Algorithm(StrEnum):
    """A digest algorithm. Each is one row: its name in hashlib and in the API, and its label.

    `document_format` is the lowest format of a stored task that has such a digest.
    """

    label: str
    document_format: int

    def __new__(cls, value: str, label: str, document_format: int = 1) -> Self:
        algorithm = str.__new__(cls, value)
        algorithm._value_ = value
        algorithm.label = label
        algorithm.document_format = document_format
        return algorithm

    MD5 = "md5", "MD5"


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
