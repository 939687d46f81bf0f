"""Every setting of the project, one row each, read from the environment once."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from settings.parsing import (
    Network,
    parse_ca_bundle,
    parse_choice,
    parse_count,
    parse_duration,
    parse_limit,
    parse_mailbox,
    parse_networks,
    parse_origins,
    parse_size,
    parse_smtp_url,
    parse_tokens,
    parse_url,
    parse_user_agent,
)

VERSION = "1.1.0"  # of pyproject.toml, and as the API reports it
DEFAULT_USER_AGENT = f"md5-light/{VERSION}"

# The punctuation that may stand in a comment of a header: RFC 9110 § 5.6.5
_OUTSIDE_COMMENTS = "".join(set(string.punctuation) - set("()\\"))
_IN_PATHS = "/%:@!$&'()*+,;=~"  # RFC 3986 § 3.3; what is encoded stays so


class SettingsError(ValueError):
    """Raised when an environment variable has a value that cannot be used."""


def _setting(
    default: Any,  # noqa: ANN401
    parse: Callable[[str], Any],
    meaning: str,
    *,
    is_secret: bool = False,
) -> Any:  # noqa: ANN401
    """Return a field of Settings: one row of the table of settings.

    `is_secret` adds a `NAME_FILE` variable and hides the value from the repr.
    """
    return field(
        default=default,
        repr=not is_secret,
        metadata={"parse": parse, "meaning": meaning, "secret": is_secret},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can choose. A field's variable has its name in capitals.

    Durations are seconds, sizes are bytes.
    """

    host: str = _setting("127.0.0.1", str, "The address on which the service listens.")
    port: int = _setting(8000, parse_count(1, 65535), "The port on which the service listens.")
    web_workers: int = _setting(1, parse_count(1, 64), "Processes of the service.")
    worker_threads: int = _setting(
        8,
        parse_count(1, 256),
        "Concurrent single downloads inside the service, without RabbitMQ. As many lanes of "
        "batches run at once, and up to 64 more with long downloads.",
    )
    rabbitmq_url: str | None = _setting(
        None,
        parse_url("amqp", "amqps"),
        "`amqp://…` Without it, the workers are inside the service.",
        is_secret=True,
    )
    mongodb_url: str | None = _setting(
        None,
        parse_url("mongodb", "mongodb+srv"),
        "`mongodb://…/database`, by default md5_light. Without it, tasks are in a SQLite file.",
        is_secret=True,
    )
    data_dir: Path = _setting(
        Path("data"), Path, "The folder of the SQLite file, and of the mails without `SMTP_URL`."
    )
    smtp_url: str | None = _setting(
        None,
        parse_smtp_url,
        "`smtp://user:password@host:587` (with STARTTLS if offered) or `smtps://…` "
        "Without it, mails are files. A password is sent over TLS only, or to this "
        "machine. `?tls=unverified` accepts any certificate, `?tls=off` uses no TLS.",
        is_secret=True,
    )
    mail_from: str = _setting(
        "MD5 light <md5-light@localhost>", parse_mailbox, "The sender of mails."
    )
    public_url: str | None = _setting(
        None,
        parse_url("http", "https"),
        "Where users reach the service, for the links in mails. If a proxy serves it under a path, "
        "such as `https://example.org/md5`, `Location` begins with this path.",
    )
    allow_networks: tuple[Network, ...] = _setting(
        (),
        parse_networks,
        "Networks that may be fetched from although they are not public: `10.1.0.0/16,fd00::/8`.",
    )
    deny_networks: tuple[Network, ...] = _setting(
        (),
        parse_networks,
        "Networks that must not be fetched from. They take precedence over `ALLOW_NETWORKS`.",
    )
    user_agent: str | None = _setting(
        None,
        parse_user_agent,
        "The `User-Agent` of downloads, in printable ASCII. The default ends with ` "
        "(+PUBLIC_URL)` as a contact if `PUBLIC_URL` is set.",
    )
    ca_bundle: Path | None = _setting(
        None, parse_ca_bundle, "A file with the certificate authorities to trust."
    )
    max_bytes: int = _setting(100 * 2**30, parse_size, "The largest file.")
    max_redirects: int = _setting(10, parse_count(0, 100), "The most redirects of one download.")
    connect_timeout: float = _setting(
        10.0,
        parse_duration,
        "Timeout of a lookup, of each address, of the TLS handshake, and of a silent kept"
        " connection.",
    )
    read_timeout: float = _setting(30.0, parse_duration, "The longest silence of a server.")
    min_speed: int = _setting(
        1024, parse_size, "Bytes per second, measured over a minute from the first byte of a body."
    )
    download_deadline: float = _setting(
        6 * 3600.0,
        parse_duration,
        "The longest duration of one attempt, with its redirects and resumptions.",
    )
    download_budget: float = _setting(
        12 * 3600.0,
        parse_limit(parse_duration),
        "The longest duration of all attempts of a task together. Pauses between them do "
        "not count. 0 = no limit.",
    )
    max_attempts: int = _setting(5, parse_count(1, 100), "The most attempts at one task.")
    retry_base: float = _setting(
        5.0,
        parse_duration,
        "Delay before the first retry. It doubles each time, plus up to 50 % jitter.",
    )
    lease: float = _setting(
        30.0, parse_duration, "How long after a worker's death its tasks are taken over."
    )
    retention: float = _setting(30 * 86400.0, parse_duration, "How long a settled task is kept.")
    submits_per_minute: int = _setting(
        600,
        parse_count(0, 10**9),
        "Submissions of one client per minute, including refused ones. A client is an "
        "IPv4 address or an IPv6 /64; a /48 may submit 16 times as many. 0 = no limit.",
    )
    mails_per_hour: int = _setting(
        60,
        parse_count(0, 10**9),
        "Mails to one recipient per hour. Variants of an address (`+tag`, the dots of "
        "Gmail) count as one. 0 = no limit.",
    )
    mails_per_hour_to_domain: int = _setting(
        1000, parse_count(0, 10**9), "Mails to all recipients of one domain per hour. 0 = no limit."
    )
    mails_per_hour_of_client: int = _setting(
        100,
        parse_count(0, 10**9),
        "Submissions with an `email` from one client per hour. 0 = no limit.",
    )
    max_batch: int = _setting(
        10_000, parse_count(0, 10**6), "The most URLs of one batch. 0 = no batches."
    )
    batch_per_host: int = _setting(
        4,
        parse_count(0, 10**6),
        "Concurrent downloads of one batch from one host, in all workers together. 0 = limited "
        "only by the threads for lanes, at most 1,000.",
    )
    urls_per_hour: int = _setting(
        20_000, parse_count(0, 10**9), "URLs in the batches of one client per hour. 0 = no limit."
    )
    max_unfinished: int = _setting(
        1_000_000,
        parse_count(1, 10**12),
        "Unfinished tasks of all clients together. Each URL of a batch counts, as do the batch and"
        " its lanes.",
    )
    max_stored: int = _setting(
        10_000_000,
        parse_count(0, 10**12),
        "Stored tasks. Above it, the settled tasks that expire first are removed. 0 = no limit.",
    )
    connections_per_client: int = _setting(
        256,
        parse_count(0, 10**9),
        "Open connections of one client to each process of the service, unless there are "
        "proxies (`PROXIES_COUNT`). 0 = no limit.",
    )
    request_timeout: float = _setting(
        60.0,
        parse_duration,
        "Time from the first byte of a request until its head and body have arrived.",
    )
    proxies_count: int = _setting(
        0,
        parse_count(0, 10),
        "Number of trusted proxies in front of the service, used to find the client's "
        "address in `X-Forwarded-For`. 0 = ignore the header.",
    )
    api_tokens: tuple[str, ...] = _setting(
        (),
        parse_tokens,
        "Comma-separated. Every request except health checks must carry `Authorization: "
        "Bearer <token>`. The web page cannot send a token, so browsers get 401.",
        is_secret=True,
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        parse_origins,
        "Comma-separated origins, such as `https://app.example.com`, whose pages may use "
        "the API from a browser. `*` = all.",
    )
    log_format: str = _setting(
        "text", parse_choice("text", "json"), "`text`, or `json` for one object per line."
    )
    metrics_port: int = _setting(
        0,
        parse_count(0, 65535),
        "A port of `HOST` for metrics only, without a token. If it is set, the public "
        "port has no `/metrics`. If it is 0, the service exposes metrics on its public "
        "port, and workers expose none.",
    )

    @property
    def store_url(self) -> str:
        """The URL of the store: MongoDB's, or that of the SQLite file."""
        return self.mongodb_url or f"sqlite:{self.data_dir / 'tasks.sqlite3'}"

    @property
    def public_path(self) -> str:
        """The path below which users find the service, without a slash at its end.

        It is percent-encoded, as header fields take ASCII only.
        """
        path = urlsplit(self.public_url or "").path.strip("/")
        return quote(f"/{path}", safe=_IN_PATHS) if path else ""

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
