"""What a GET sends: its target and its headers, as curl sends them."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from urllib.parse import quote

import requests

from tasks.rfc3986 import URLParts, remove_dot_segments
from tasks.url import ascii_authority

_ACCEPT = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points: the server's root, the Host header, and the request target."""

    root: str
    host: str
    path: str  # with the query, RFC 9112 § 3.2.1

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL that `parse_url` has accepted apart.

        Path and query stay as they were written, an empty query included. Dot segments are removed
        (RFC 3986 § 5.2.4), and non-ASCII characters become escaped UTF-8.
        """
        parts = URLParts.of(url)
        host = ascii_authority(parts)
        query = "" if parts.query is None else f"?{parts.query}"
        path = remove_dot_segments(parts.path or "/") + query
        return cls(f"{parts.scheme}://{host}/", host, quote(path, safe=string.punctuation))


def prepare(target: Target, user_agent: str, extra: Mapping[str, str]) -> requests.PreparedRequest:
    """Return a GET of a server's root; its connection puts the target in the place of the path.

    A request without extra headers is the same for many downloads, so it is prepared once.
    """
    headers = {"Host": target.host, "User-Agent": user_agent, **_ACCEPT, **extra}
    make = _prepare.__wrapped__ if extra else _prepare
    return make(target.root, tuple(headers.items()))


@lru_cache(maxsize=256)
def _prepare(root: str, headers: tuple[tuple[str, str], ...]) -> requests.PreparedRequest:
    return requests.Request("GET", root, headers=dict(headers)).prepare()
