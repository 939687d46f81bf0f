"""Every knob of the project, read from the environment once."""

import ipaddress
import re
import ssl
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The punctuation that may stand in a comment of a header: RFC 9110 § 5.6.5
_OUTSIDE_COMMENTS = "".join(set(string.punctuation) - set("()\\"))
_DURATION_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DURATION = 3650 * 86400.0
MAX_SIZE = 2**60
MAX_USER_AGENT_LENGTH = 1000
_SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
VERSION = "1.1.0"  # of pyproject.toml, and as the API reports it
DEFAULT_USER_AGENT = f"md5-light/{VERSION}"


class SettingsError(ValueError):
    """Raised when an environment variable has a value that cannot be used."""


def parse_duration(text: str) -> float:
    """Seconds in `30`, `30s`, `1.5m`, `6h`, `500ms` or `30d`. Raises ValueError."""
    seconds = _parse_quantity(text, _DURATION_UNITS)
    if not 0 < seconds <= MAX_DURATION:
        raise ValueError("must be a duration such as 30s, 5m or 6h, more than zero, up to 3650d")
    return seconds


def parse_size(text: str) -> int:
    """Bytes in `1024`, `64KiB`, `10MiB` or `1GiB`. Raises ValueError."""
    size = _parse_quantity(text, _SIZE_UNITS)
    if not 1 <= size <= MAX_SIZE:
        raise ValueError("must be a size such as 4096, 10MiB or 1GiB, more than zero, up to 1EiB")
    return int(size)


def _parse_quantity(text: str, units: Mapping[str, float]) -> float:
    """A number and a unit; 0 for what is neither."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", text.strip())
    return float(match[1]) * units.get(match[2], 0) if match else 0


def _parse_limit(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser that also takes 0, which stands for no limit."""

    def parse_or_zero(text: str) -> float:
        if text.strip() == "0":
            return 0
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or 0 for no limit") from None

    return parse_or_zero


def _parse_count(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip() not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return text.strip()

    return parse


def _parse_user_agent(text: str) -> str:
    agent = text.strip()
    if not agent.isascii() or not agent.isprintable() or len(agent) > MAX_USER_AGENT_LENGTH:
        raise ValueError(f"must be up to {MAX_USER_AGENT_LENGTH} printable ASCII characters")
    return agent


def _parse_networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(
            f"must be a comma-separated list of networks such as 10.0.0.0/8: {error}"
        ) from None


def _parse_url(*schemes: str) -> Callable[[str], str]:
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


def _parse_smtp_url(text: str) -> str:
    url = _parse_url("smtp", "smtps")(text)
    parts = urlsplit(url)
    options = ["", "tls=unverified"]
    if parts.scheme == "smtp":
        options.append("tls=off")
    if parts.query not in options:
        raise ValueError("may only have the options ?tls=unverified or, with smtp://, ?tls=off")
    return url


def _parse_ca_bundle(text: str) -> Path:
    ssl.create_default_context(cafile=text)  # raises an OSError for what it cannot read
    return Path(text)


def _parse_mailbox(text: str) -> str:
    addresses = getaddresses([text])
    try:
        name, address = addresses[0]
        is_valid = Address(name, addr_spec=address).domain and len(addresses) == 1
    except (ValueError, IndexError, MessageError):
        is_valid = False
    if not is_valid or not text.isascii() or not text.isprintable():
        raise ValueError("must be one address, such as MD5 light <md5@example.com>")
    return text


def _parse_tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(part.strip() for part in text.split(",") if part.strip())
    pattern = r"[A-Za-z0-9._~+/-]{16,}=*"  # RFC 6750 § 2.1
    if not tokens or not all(re.fullmatch(pattern, token) for token in tokens):
        raise ValueError(
            "must be a comma-separated list of tokens, each of at least 16 letters, digits"
            " and -._~+/"
        )
    return tokens


def _parse_origins(text: str) -> tuple[str, ...]:
    """Origins as browsers write them: in lower case, without the scheme's own port."""
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


def _setting(default: Any, parse: Callable[[str], Any], *, is_secret: bool = False) -> Any:  # noqa: ANN401
    """A field of Settings; `is_secret` adds a `NAME_FILE` variable and hides it from the repr."""
    return field(
        default=default, repr=not is_secret, metadata={"parse": parse, "secret": is_secret}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can choose. A field's variable has its name in capitals.

    Durations are seconds, sizes are bytes.
    """

    host: str = _setting("127.0.0.1", str)
    port: int = _setting(8000, _parse_count(1, 65535))
    web_workers: int = _setting(1, _parse_count(1, 64))
    worker_threads: int = _setting(8, _parse_count(1, 256))
    rabbitmq_url: str | None = _setting(None, _parse_url("amqp", "amqps"), is_secret=True)
    mongodb_url: str | None = _setting(None, _parse_url("mongodb", "mongodb+srv"), is_secret=True)
    data_dir: Path = _setting(Path("data"), Path)
    smtp_url: str | None = _setting(None, _parse_smtp_url, is_secret=True)
    mail_from: str = _setting("MD5 light <md5-light@localhost>", _parse_mailbox)
    public_url: str | None = _setting(None, _parse_url("http", "https"))
    allow_networks: tuple[Network, ...] = _setting((), _parse_networks)
    deny_networks: tuple[Network, ...] = _setting((), _parse_networks)
    user_agent: str | None = _setting(None, _parse_user_agent)
    ca_bundle: Path | None = _setting(None, _parse_ca_bundle)
    max_bytes: int = _setting(100 * 2**30, parse_size)
    max_redirects: int = _setting(10, _parse_count(0, 100))
    connect_timeout: float = _setting(10.0, parse_duration)
    read_timeout: float = _setting(30.0, parse_duration)
    min_speed: int = _setting(1024, parse_size)
    download_deadline: float = _setting(6 * 3600.0, parse_duration)
    download_budget: float = _setting(12 * 3600.0, _parse_limit(parse_duration))
    max_attempts: int = _setting(5, _parse_count(1, 100))
    retry_base: float = _setting(5.0, parse_duration)
    lease: float = _setting(30.0, parse_duration)
    retention: float = _setting(30 * 86400.0, parse_duration)
    submits_per_minute: int = _setting(600, _parse_count(0, 10**9))
    mails_per_hour: int = _setting(60, _parse_count(0, 10**9))
    mails_per_hour_to_domain: int = _setting(1000, _parse_count(0, 10**9))
    mails_per_hour_of_client: int = _setting(100, _parse_count(0, 10**9))
    max_unfinished: int = _setting(1_000_000, _parse_count(1, 10**12))
    max_stored: int = _setting(10_000_000, _parse_count(0, 10**12))
    connections_per_client: int = _setting(256, _parse_count(0, 10**9))
    request_timeout: float = _setting(60.0, parse_duration)
    proxies_count: int = _setting(0, _parse_count(0, 10))
    api_tokens: tuple[str, ...] = _setting((), _parse_tokens, is_secret=True)
    cors_origins: tuple[str, ...] = _setting((), _parse_origins)
    log_format: str = _setting("text", _parse_choice("text", "json"))
    metrics_port: int = _setting(0, _parse_count(0, 65535))

    @property
    def sent_user_agent(self) -> str:
        """The User-Agent of downloads. By default it names the service's URL as a contact."""
        if self.user_agent:
            return self.user_agent
        if self.public_url is None:
            return DEFAULT_USER_AGENT
        contact = quote(self.public_url, safe=_OUTSIDE_COMMENTS)
        return f"{DEFAULT_USER_AGENT} (+{contact})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read each setting from its variable; an unset or empty one keeps its default.

        Raises SettingsError, which names the variable, for a value that cannot be used.
        """
        values = {}
        for each in fields(cls):
            name = each.name.upper()
            try:
                text = _read(environ, name, may_be_file=each.metadata["secret"])
                if text:
                    values[each.name] = each.metadata["parse"](text)
            except (ValueError, OSError) as error:
                raise SettingsError(f"{name}: {error}") from None
        return cls(**values)


def _read(environ: Mapping[str, str], name: str, *, may_be_file: bool) -> str:
    text, path = environ.get(name, ""), environ.get(f"{name}_FILE", "") if may_be_file else ""
    if text and path:
        raise ValueError(f"is set together with {name}_FILE; set one of them")
    if not path:
        return text
    secret = Path(path).read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret
