"""The cookies of one download, for an origin that redirects until its cookie comes back.

The rules are those of RFC 6265, with a stricter scope: a cookie goes back only to the host that set
it, never to a subdomain of its domain. Everything takes time linear in the headers.
"""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fetch.dates import parse_http_date
from fetch.request import Target

# The smallest limits that RFC 6265 § 6.1 allows, and curl's for a Cookie header.
MAX_COOKIES = 50
MAX_COOKIE_BYTES = 4096
MAX_HEADER_BYTES = 8190
MAX_DATE_BYTES = 64

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Place:
    """The part of a URL on which cookies depend: RFC 6265 § 5.1."""

    host: str
    path: str
    is_secure: bool

    @classmethod
    def of(cls, url: str) -> Self:
        target = Target.of(url)
        host = re.sub(r":[0-9]+$", "", target.host.lower())
        return cls(host, target.path.partition("?")[0], target.root[:6].lower() == "https:")

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0] or "/"

    def is_under(self, path: str) -> bool:
        return self.path.startswith(path) and (
            path.endswith("/") or self.path[len(path) :][:1] in ("", "/")
        )


@dataclass(frozen=True, slots=True)
class _Cookie:
    name: str
    value: str
    host: str
    path: str
    is_secure: bool
    expires_at: float  # by the monotonic clock

    @property
    def has_expired(self) -> bool:
        return time.monotonic() >= self.expires_at

    def is_for(self, place: _Place) -> bool:
        """Whether a request sends the cookie: RFC 6265 § 5.4."""
        return (
            place.host == self.host
            and place.is_under(self.path)
            and place.is_secure >= self.is_secure
            and not self.has_expired
        )


class CookieJar:
    """Keeps the cookies of one download, bounded in number and size."""

    def __init__(self) -> None:
        # By host, path and name. The oldest comes first.
        self._cookies: dict[tuple[str, str, str], _Cookie] = {}

    def store(self, url: str, headers: Sequence[str]) -> None:
        """Keep the cookies in the Set-Cookie headers of an answer from a URL.

        A cookie that is malformed, too long or meant for another host is skipped.
        """
        if not headers:
            return
        place = _Place.of(url)
        for header in headers:
            cookie = _parse(header, place)
            if cookie is None:
                continue
            key = (cookie.host, cookie.path, cookie.name)
            self._cookies.pop(key, None)
            if not cookie.has_expired:
                self._cookies[key] = cookie
            if len(self._cookies) > MAX_COOKIES:
                del self._cookies[next(iter(self._cookies))]

    def header(self, url: str) -> str:
        """Return the Cookie header of a request for a URL. It is empty without a cookie for it."""
        if not self._cookies:
            return ""
        place = _Place.of(url)
        cookies = [cookie for cookie in self._cookies.values() if cookie.is_for(place)]
        cookies.sort(key=lambda cookie: len(cookie.path), reverse=True)
        header = ""
        for cookie in cookies:
            longer = f"{header}; {cookie.name}={cookie.value}".removeprefix("; ")
            header = longer if len(longer) <= MAX_HEADER_BYTES else header
        return header


def _parse(header: str, place: _Place) -> _Cookie | None:
    """Return the cookie in a Set-Cookie header, or None to skip it: RFC 6265 § 5.2 and § 5.3."""
    pair, _, rest = header.partition(";")
    name, mark, value = pair.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not mark or not name or len(name) + len(value) > MAX_COOKIE_BYTES:
        return None
    if _CONTROL_CHARACTER.search(name + value) or name[0].isspace():  # requests would refuse it
        return None
    attributes = dict(map(_parse_attribute, rest.split(";")))  # the last of a name counts
    domain = attributes.get("domain", "").removeprefix(".").lower()
    if domain and not f".{place.host}".endswith(f".{domain}"):
        return None
    is_secure = "secure" in attributes
    if is_secure and not place.is_secure:
        return None
    path = attributes.get("path", "")
    if not path.startswith("/"):
        path = place.folder
    return _Cookie(name, value, place.host, path, is_secure, _expiry(attributes))


def _parse_attribute(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(" \t").lower(), value.strip(" \t")


def _expiry(attributes: dict[str, str]) -> float:
    """Return when a cookie expires, by the monotonic clock. Max-Age takes precedence."""
    now = time.monotonic()
    age = attributes.get("max-age", "")
    if re.fullmatch(r"-[0-9]+", age):
        return now
    if re.fullmatch(r"[0-9]+", age):
        return now + int(age[:10])
    expires = attributes.get("expires", "")
    moment = parse_http_date(expires) if len(expires) <= MAX_DATE_BYTES else None
    return math.inf if moment is None else now + moment - time.time()
