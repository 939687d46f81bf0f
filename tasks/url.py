"""Which URLs are acceptable: a URL that two parsers could read differently is refused."""

import ipaddress
import re
from functools import lru_cache
from typing import NoReturn

import idna

from tasks.errors import InvalidURLError
from tasks.rfc3986 import URLParts

# In UTF-8. Other parsers take time quadratic in the length of a non-ASCII authority, so both bounds
# are checked before anything else.
MAX_URL_BYTES = 8192
MAX_AUTHORITY_BYTES = 1024  # four times the longest host name, for names in other scripts
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_HOST_LENGTH = 253  # RFC 1035 § 2.3.4, as text without the trailing dot

# The ports that no browser fetches from: https://fetch.spec.whatwg.org/#port-blocking
# fmt: off
BAD_PORTS = frozenset((
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389,
    427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636,
    989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665,
    6666, 6667, 6668, 6669, 6679, 6697, 10080,
))
# fmt: on

_UNCLEAR_CHARACTER = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f"  # white space, C0 and C1 controls
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control: they reorder what is shown
    r"\u200b\u2028\u2029\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"  # others that are not shown
    r"\ud800-\udfff]"  # lone surrogates
)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")  # RFC 3986 § 3.2
# Resolvers and clients take hyphens and underscores anywhere, although RFC 952 does not.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
# A host whose last label is a number is an IPv4 address: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


_KEPT_HOSTS = 10_000  # whose check is remembered, because URLs of a list often share one
_HOST_AND_PORT = "must have a host, or a host and a port from 1 to 65535, after the ://"


def parse_url(text: str) -> str:
    """Return the URL as it was given, once it is clear what it means.

    Raises InvalidURLError, which names the broken rule, for more than MAX_URL_BYTES, other schemes
    than http and https, a user name or password, white space, control and invisible characters,
    backslashes, hosts that are neither a name (IDNA 2008) nor a canonical address, and ports on
    WHATWG's list.
    """
    parts = _split(text)
    if _UNCLEAR_CHARACTER.search(text):
        _refuse("must not contain white space, control or invisible characters, or surrogates")
    if "\\" in text:
        _refuse("must not contain a backslash")
    authority = parts.authority or ""
    if (parts.scheme or "").lower() not in DEFAULT_PORTS:
        _refuse("must begin with http:// or https://")
    if "@" in authority:
        _refuse("must not contain a user name or password")
    host, port = _split_authority(authority)
    _check_port(port)
    _check_host(host.lower())
    return text


def resolve_url(base: str, reference: str) -> str:
    """Return the URL that a reference in an answer from `base` leads to: RFC 3986 § 5.2.

    `base` is a URL that `parse_url` has accepted. Raises InvalidURLError as `parse_url` does.
    """
    return parse_url(str(URLParts.of(base).resolve(_split(reference))))


def ascii_authority(parts: URLParts) -> str:
    """Return host and port as the Host header has them: RFC 9110 § 7.2.

    An ASCII host stays as it was written, and the scheme's default port is left out. The URL is
    one that `parse_url` has accepted.
    """
    assert parts.scheme is not None
    host, port = _split_authority(parts.authority or "")
    if not host.isascii():
        host = host_to_ascii(host.lower())
    default = DEFAULT_PORTS[parts.scheme.lower()]
    return host if int(port or default) == default else f"{host}:{int(port)}"


def host_of(url: str) -> str:
    """Return the host of a URL in ASCII and lower case, without its port and a trailing dot.

    The URL is one that `parse_url` has accepted.
    """
    host, _ = _split_authority(URLParts.of(url).authority or "")
    return host_to_ascii(host.lower()).rstrip(".")


def _split(text: str) -> URLParts:
    """Split a URL. Raises InvalidURLError if it is too long."""
    if _count_bytes(text) > MAX_URL_BYTES:
        _refuse(f"must not be longer than {MAX_URL_BYTES:,} bytes in UTF-8")
    parts = URLParts.of(text)
    if _count_bytes(parts.authority or "") > MAX_AUTHORITY_BYTES:
        _refuse(f"must not have a host longer than {MAX_AUTHORITY_BYTES:,} bytes in UTF-8")
    return parts


def _count_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _refuse(rule: str) -> NoReturn:
    raise InvalidURLError(rule)


def _split_authority(authority: str) -> tuple[str, str]:
    """Return the host and the digits of the port. An empty port means the default one."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        _refuse(_HOST_AND_PORT)
    return match[1], match[2] or ""


def _check_port(port: str) -> None:
    if int(port or 80) > 65535:  # noqa: PLR2004
        _refuse(_HOST_AND_PORT)
    if int(port or 80) in BAD_PORTS:
        _refuse(f"must not use port {int(port)}, which belongs to another protocol than HTTP")


@lru_cache(maxsize=_KEPT_HOSTS)
def _check_host(host: str) -> None:
    """Check a host in lower case."""
    if host.startswith("["):
        if not _is_address(ipaddress.IPv6Address, host[1:-1]):
            _refuse("must have a valid IPv6 address between the brackets")
        return
    if not host:
        _refuse("must have a host after the ://")
    name = host_to_ascii(host)
    *_, last = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(last):
        if not _is_address(ipaddress.IPv4Address, host):
            _refuse("must write an IPv4 address as four decimal numbers, such as 192.0.2.1")
    elif len(name.removesuffix(".")) > MAX_HOST_LENGTH or not all(
        _LABEL.fullmatch(label) for label in name.removesuffix(".").split(".")
    ):
        _refuse("must have a valid host name")


@lru_cache(maxsize=_KEPT_HOSTS)
def host_to_ascii(host: str) -> str:
    """Return a host name with its A-labels (RFC 5890). Raises InvalidURLError."""
    try:
        return ".".join(
            label if label.isascii() else idna.encode(label, strict=True, std3_rules=True).decode()
            for label in host.split(".")
        )
    except idna.IDNAError:
        _refuse("must have a valid host name")


def _is_address(kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text  # an IPv6 zone means something only on the machine that wrote it
