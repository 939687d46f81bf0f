"""What an origin declares about the digests of a file. It is reported, and never trusted."""

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import http_sf
from urllib3 import HTTPResponse

from tasks.digests import Algorithm

_BY_HTTP_NAME = {each.http_name: each for each in Algorithm if each.http_name}
_MD5_DIGITS = re.compile("[0-9a-f]{32}")

Pair = tuple[str, bytes]  # the name of an algorithm in HTTP, and a digest


@dataclass(frozen=True, slots=True)
class Declared:
    """The digests that the head of an answer declares, in lower-case hexadecimal digits.

    An ETag is for something else, but some servers use the MD5. `etag` is set if it could be one:
    it can confirm the result, and never contradict it.
    """

    hexdigests: Mapping[Algorithm, str] = field(default_factory=lambda: MappingProxyType({}))
    etag: str | None = None

    def about(self, computed: Mapping[Algorithm, str]) -> dict[Algorithm, str]:
        """Return what is declared about the algorithms that were computed."""
        declared = {each: text for each, text in self.hexdigests.items() if each in computed}
        if self.etag == computed[Algorithm.MD5]:
            declared.setdefault(Algorithm.MD5, self.etag)
        return declared


NOTHING_DECLARED = Declared()


def read_declared(response: HTTPResponse) -> Declared:
    """Return what the head of a 200 declares about the whole file, as it was sent.

    Headers that cannot be read are ignored, and so are all digests of an algorithm that contradict
    each other. With a Content-Encoding nothing counts: servers disagree about whether a digest is
    that of the coded file.
    """
    headers = response.headers
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return NOTHING_DECLARED
    found: defaultdict[Algorithm, set[str]] = defaultdict(set)
    for name, read in _READERS.items():
        if values := headers.getlist(name):
            for http_name, digest in read(",".join(values), headers):
                algorithm = _BY_HTTP_NAME.get(http_name)
                if algorithm is not None and 2 * len(digest) == algorithm.hex_digits:
                    found[algorithm].add(digest.hex())
    hexdigests = {each: texts.pop() for each, texts in found.items() if len(texts) == 1}
    has_contradiction = len(hexdigests) < len(found)
    return Declared(hexdigests, None if has_contradiction else _read_etag(headers.get("ETag", "")))


def _read_fields(value: str, _: Mapping[str, str]) -> Iterator[Pair]:
    """Read a dictionary of RFC 9530 § 2 and § 3, by the rules for structured fields (RFC 9651)."""
    try:
        members = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except ValueError:
        return
    for name, member in cast("http_sf.DictionaryType", members).items():
        digest = member[0] if isinstance(member, tuple) else member
        if isinstance(digest, bytes):
            yield name, digest


def _read_list(value: str, _: Mapping[str, str]) -> Iterator[Pair]:
    """Read a list of `algorithm=base64`, as in RFC 3230 § 4.3.2."""
    for part in value.split(","):
        name, _equals, text = part.strip().partition("=")
        if (digest := _decode(text)) is not None:
            yield name.lower(), digest


def _read_content_md5(value: str, _: Mapping[str, str]) -> Iterator[Pair]:
    """Read the header of RFC 1864, which a repetition makes unreadable."""
    if (digest := _decode(value.strip())) is not None:
        yield Algorithm.MD5.http_name, digest


def _read_google(value: str, headers: Mapping[str, str]) -> Iterable[Pair]:
    """Read `x-goog-hash` of Google Cloud Storage, the hashes of the object as it is stored.

    https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash
    """
    stored = headers.get("x-goog-stored-content-encoding", "")
    return _read_list(value, headers) if stored.strip().lower() == "identity" else ()


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_etag(etag: str) -> str | None:
    """Return the digits of a strong ETag that could be an MD5."""
    text = etag.strip().strip('"').lower()
    return text if _MD5_DIGITS.fullmatch(text) else None


_READERS: Mapping[str, Callable[[str, Mapping[str, str]], Iterable[Pair]]] = {
    "Repr-Digest": _read_fields,
    "Content-Digest": _read_fields,
    "Digest": _read_list,
    "Content-MD5": _read_content_md5,
    "x-goog-hash": _read_google,
}
