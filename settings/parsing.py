"""Parsers of the values of settings. Each raises ValueError with the rule that is broken."""

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DURATION_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
MAX_DURATION = 3650 * 86400.0
MAX_SIZE = 2**60
MAX_USER_AGENT_LENGTH = 1000


def parse_duration(text: str) -> float:
    """Return the seconds in `30`, `30s`, `1.5m`, `6h`, `500ms` or `30d`. Raises ValueError."""
    seconds = _parse_quantity(text, _DURATION_UNITS)
    if not 0 < seconds <= MAX_DURATION:
        raise ValueError("must be a duration such as 30s, 5m or 6h, more than zero, up to 3650d")
    return seconds


def parse_size(text: str) -> int:
    """Return the bytes in `1024`, `64KiB`, `10MiB` or `1GiB`. Raises ValueError."""
    size = _parse_quantity(text, _SIZE_UNITS)
    if not 1 <= size <= MAX_SIZE:
        raise ValueError("must be a size such as 4096, 10MiB or 1GiB, more than zero, up to 1EiB")
    return int(size)


def _parse_quantity(text: str, units: Mapping[str, float]) -> float:
    """Return the number times its unit; 0 for a malformed text."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", text.strip())
    return float(match[1]) * units.get(match[2], 0) if match else 0


def parse_limit(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser that also takes 0, which stands for no limit."""

    def parse_or_zero(text: str) -> float:
        if text.strip() == "0":
            return 0
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or 0 for no limit") from None

    return parse_or_zero


def parse_count(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip() not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return text.strip()

    return parse


def parse_user_agent(text: str) -> str:
    agent = text.strip()
    if not agent.isascii() or not agent.isprintable() or len(agent) > MAX_USER_AGENT_LENGTH:
        raise ValueError(f"must be up to {MAX_USER_AGENT_LENGTH} printable ASCII characters")
    return agent


def parse_networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(
            f"must be a comma-separated list of networks such as 10.0.0.0/8: {error}"
        ) from None


def parse_url(*schemes: str) -> Callable[[str], str]:
    rule = f"must be a URL such as {schemes[0]}://host, with a valid host and port"

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text.strip())
            # MongoDB's URL may list several hosts, which its driver reads by itself.
            is_valid = parts.netloc and (
                "mongodb" in schemes or (parts.hostname and parts.port != 0)
            )
        except ValueError:  # its text would show the password
            raise ValueError(rule) from None
        if not is_valid or parts.scheme not in schemes:
            raise ValueError(rule)
        return text.strip()

    return parse


def parse_smtp_url(text: str) -> str:
    url = parse_url("smtp", "smtps")(text)
    parts = urlsplit(url)
    options = ["", "tls=unverified"]
    if parts.scheme == "smtp":
        options.append("tls=off")
    if parts.query not in options:
        raise ValueError("may only have the options ?tls=unverified or, with smtp://, ?tls=off")
    return url


def parse_ca_bundle(text: str) -> Path:
    ssl.create_default_context(cafile=text)  # raises an OSError for what it cannot read
    return Path(text)


def parse_mailbox(text: str) -> str:
    addresses = getaddresses([text])
    try:
        name, address = addresses[0]
        is_valid = Address(name, addr_spec=address).domain and len(addresses) == 1
    except (ValueError, IndexError, MessageError):
        is_valid = False
    if not is_valid or not text.isascii() or not text.isprintable():
        raise ValueError("must be one address, such as MD5 light <md5@example.com>")
    return text


def parse_tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(part.strip() for part in text.split(",") if part.strip())
    pattern = r"[A-Za-z0-9._~+/-]{16,}=*"  # RFC 6750 § 2.1
    if not tokens or not all(re.fullmatch(pattern, token) for token in tokens):
        raise ValueError(
            "must be a comma-separated list of tokens, each of at least 16 letters, digits"
            " and -._~+/"
        )
    return tokens


def parse_origins(text: str) -> tuple[str, ...]:
    """Return origins as browsers write them: in lower case, without the usual port."""
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    if origins != ("*",) and not all(map(_is_origin, origins)):
        raise ValueError(
            "must be * or a comma-separated list of origins such as https://example.com or"
            " http://localhost:3000, in lower case, without a path and without the usual port"
        )
    return origins


def _is_origin(text: str) -> bool:
    match = re.fullmatch(
        r"(https?)://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", text
    )
    if match is None:
        return False
    usual = {"http": "80", "https": "443"}[match[1]]
    return match[2] != usual and int(match[2] or usual) <= 65535  # noqa: PLR2004
