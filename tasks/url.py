"""Which URLs are acceptable: what two parsers could read differently is refused."""

import ipaddress
import re
from typing import NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit

import idna

from tasks.errors import InvalidURLError

# In UTF-8. For a non-ASCII authority `urlsplit` and `urljoin` take time quadratic in its length and
# hold the GIL, so both bounds are checked before either of them reads a text.
MAX_URL_BYTES = 8192
MAX_AUTHORITY_BYTES = 1024  # four times the longest host name, for names in other scripts
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

# White space, C0 and C1 controls, line separators and lone surrogates.
_UNCLEAR_CHARACTER = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff\ud800-\udfff]")
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#]*)", re.IGNORECASE)  # RFC 3986 § 3.2
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# A host whose last label is a number is an IPv4 address: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_url(text: str) -> str:
    """The URL as it was given, once it is clear what it means.

    Raises InvalidURLError, which names the broken rule, for more than MAX_URL_BYTES, other schemes
    than http and https, a user name or password, white space, control characters, backslashes,
    hosts that are neither a name (IDNA 2008) nor a canonical address, and ports on WHATWG's list.
    """
    _check_size(text)
    if _UNCLEAR_CHARACTER.search(text):
        _refuse("must not contain white space, control characters or surrogates")
    if "\\" in text:
        _refuse("must not contain a backslash")
    try:
        parts = urlsplit(text)
    except ValueError:
        _refuse("is not a URL")
    if parts.scheme not in ("http", "https"):
        _refuse("must begin with http:// or https://")
    if "@" in parts.netloc:
        _refuse("must not contain a user name or password")
    _check_port(parts)
    _check_host(parts)
    return text


def resolve_url(base: str, reference: str) -> str:
    """The URL that a reference in an answer from `base` leads to (RFC 3986 § 5.2).

    `base` is a URL that `parse_url` has accepted. Raises InvalidURLError as `parse_url` does.
    """
    _check_size(reference)
    try:
        # urljoin would also read http:/path as a path on the same host.
        target = reference if urlsplit(reference).scheme else urljoin(base, reference)
    except ValueError:  # its text would quote the URL
        _refuse("is not a URL")
    return parse_url(target)


def _check_size(text: str) -> None:
    if _count_bytes(text) > MAX_URL_BYTES:
        _refuse(f"must not be longer than {MAX_URL_BYTES:,} bytes in UTF-8")
    authority = _AUTHORITY.match(text)
    if authority is not None and _count_bytes(authority[1]) > MAX_AUTHORITY_BYTES:
        _refuse(f"must not have a host longer than {MAX_AUTHORITY_BYTES:,} bytes in UTF-8")


def _count_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _refuse(rule: str) -> NoReturn:
    raise InvalidURLError(rule)


def _check_port(parts: SplitResult) -> None:
    match = re.fullmatch(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", parts.netloc)
    if match is None or int(match[1] or 80) > 65535:  # noqa: PLR2004
        _refuse("must have a host, or a host and a port from 1 to 65535, after the ://")
    if int(match[1] or 80) in BAD_PORTS:
        _refuse(f"must not use port {int(match[1])}, which belongs to another protocol than HTTP")


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        if not _is_address(ipaddress.IPv6Address, host):
            _refuse("must have a valid IPv6 address between the brackets")
        return
    if not host:
        _refuse("must have a host after the ://")
    name = _to_ascii(host)
    *_, last = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(last):
        if not _is_address(ipaddress.IPv4Address, host):
            _refuse("must write an IPv4 address as four decimal numbers, such as 192.0.2.1")
    elif len(name.removesuffix(".")) > MAX_HOST_LENGTH or not all(
        _LABEL.fullmatch(label) for label in name.removesuffix(".").split(".")
    ):
        _refuse("must have a valid host name")


def _to_ascii(host: str) -> str:
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
