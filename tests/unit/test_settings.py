import re
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from devtools.servers.process import PROJECT
from settings import VERSION, Settings, SettingsError
from settings.parsing import parse_duration, parse_size

SECRETS = {
    "RABBITMQ_URL": "amqp://guest:s3cret@rabbit:5672",
    "MONGODB_URL": "mongodb://root:s3cret@mongo/md5",
    "SMTP_URL": "smtps://me:s3cret@mail.example.com:465",
    "API_TOKENS": "a-long-random-token-1, a-long/random+token-2==",
}
COUNTS = (
    "PORT",
    "WEB_WORKERS",
    "WORKER_THREADS",
    "MAX_REDIRECTS",
    "MAX_ATTEMPTS",
    "SUBMITS_PER_MINUTE",
    "MAILS_PER_HOUR",
    "MAX_UNFINISHED",
    "MAX_STORED",
    "CONNECTIONS_PER_CLIENT",
    "PROXIES_COUNT",
    "METRICS_PORT",
)
DURATIONS = (
    "CONNECT_TIMEOUT",
    "READ_TIMEOUT",
    "REQUEST_TIMEOUT",
    "DOWNLOAD_DEADLINE",
    "DOWNLOAD_BUDGET",
    "RETRY_BASE",
    "LEASE",
    "RETENTION",
)


def test_settings_have_the_documented_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.web_workers) == ("127.0.0.1", 8000, 1)
    assert settings.worker_threads == 8
    assert (settings.rabbitmq_url, settings.mongodb_url, settings.smtp_url) == (None, None, None)
    assert settings.public_url is None
    assert settings.data_dir == Path("data")
    assert settings.allow_networks == ()
    assert settings.max_bytes == 100 * 2**30
    assert settings.max_redirects == 10
    assert (settings.connect_timeout, settings.read_timeout) == (10, 30)
    assert (settings.download_deadline, settings.download_budget) == (6 * 3600, 12 * 3600)
    assert (settings.max_attempts, settings.retry_base, settings.lease) == (5, 5, 30)
    assert settings.retention == 30 * 86400
    assert (settings.submits_per_minute, settings.mails_per_hour) == (600, 60)
    assert (settings.max_unfinished, settings.max_stored) == (1_000_000, 10_000_000)
    assert settings.proxies_count == 0
    assert (settings.connections_per_client, settings.request_timeout) == (256, 60)
    assert settings.api_tokens == ()
    assert settings.cors_origins == ()
    assert (settings.log_format, settings.metrics_port) == ("text", 0)


def test_empty_is_unset() -> None:
    assert Settings.from_env({each.name.upper(): "" for each in fields(Settings)}) == Settings()


def test_every_setting_is_read_from_its_variable() -> None:
    environ = {
        **SECRETS,
        "HOST": "0.0.0.0",
        "PORT": "80",
        "WEB_WORKERS": "2",
        "WORKER_THREADS": " 16 ",
        "DATA_DIR": "/var/lib/md5",
        "MAIL_FROM": "MD5 light <md5@example.com>",
        "PUBLIC_URL": "https://md5.example.com/",
        "USER_AGENT": " curl/8.14.1 ",
        "ALLOW_NETWORKS": "10.0.0.0/8, ::1,192.0.2.1",
        "MAX_BYTES": "10MiB",
        "MAX_REDIRECTS": "0",
        "CONNECT_TIMEOUT": "500ms",
        "READ_TIMEOUT": "5s",
        "DOWNLOAD_DEADLINE": "1.5h",
        "MAX_ATTEMPTS": "1",
        "RETRY_BASE": "1",
        "LEASE": "1m",
        "RETENTION": "7d",
        "SUBMITS_PER_MINUTE": "0",
        "MAX_UNFINISHED": "5",
        "MAX_STORED": "0",
        "PROXIES_COUNT": "1",
        "CORS_ORIGINS": "https://app.example.com, http://localhost:3000,http://[::1]:8080",
    }
    settings = Settings.from_env(environ)
    assert {each.name.upper() for each in fields(Settings)} >= set(environ)
    assert settings.mongodb_url == SECRETS["MONGODB_URL"]
    assert settings.user_agent == "curl/8.14.1"
    assert settings.allow_networks == (
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
        ip_network("192.0.2.1/32"),
    )
    assert (settings.port, settings.worker_threads, settings.max_redirects) == (80, 16, 0)
    assert (settings.max_bytes, settings.data_dir) == (10 * 2**20, Path("/var/lib/md5"))
    assert (settings.connect_timeout, settings.download_deadline) == (0.5, 5400)
    assert (settings.lease, settings.retention) == (60, 7 * 86400)
    assert (settings.submits_per_minute, settings.max_unfinished) == (0, 5)
    assert (settings.max_stored, settings.proxies_count) == (0, 1)
    assert settings.api_tokens == ("a-long-random-token-1", "a-long/random+token-2==")
    assert settings.cors_origins == (
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]:8080",
    )


def test_download_budget_may_be_unlimited() -> None:
    assert Settings.from_env({"DOWNLOAD_BUDGET": "0"}).download_budget == 0


@pytest.mark.parametrize(
    ("environ", "agent"),
    [
        ({}, f"md5-light/{VERSION}"),
        (
            {"PUBLIC_URL": "https://md5.example.com"},
            f"md5-light/{VERSION} (+https://md5.example.com)",
        ),
        ({"USER_AGENT": "curl/8.14.1"}, "curl/8.14.1"),
        ({"USER_AGENT": "a (b)", "PUBLIC_URL": "https://md5.example.com"}, "a (b)"),
        (
            {"PUBLIC_URL": "https://b\xfccher.example/a(b)\\\r\nX: y"},
            f"md5-light/{VERSION} (+https://b%C3%BCcher.example/a%28b%29%5C%0D%0AX:%20y)",
        ),
    ],
)
def test_user_agent_names_a_contact(environ: dict[str, str], agent: str) -> None:
    assert Settings.from_env(environ).sent_user_agent == agent


def test_every_origin_may_be_allowed() -> None:
    assert Settings.from_env({"CORS_ORIGINS": " * "}).cors_origins == ("*",)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("30 s", 30),
        ("1.5m", 90),
        ("5m", 300),
        ("6h", 21600),
        ("30d", 2592000),
        ("500ms", 0.5),
        (" 2s ", 2),
    ],
)
def test_durations_are_parsed_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("10B", 10), ("64KiB", 65536), ("1.5MiB", 1572864), ("2GiB", 2**31)],
)
def test_sizes_are_parsed_with_their_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


BAD_VALUES = [
    *((name, bad) for name in COUNTS for bad in ("-1", "many", "1.5", "0x10", "9" * 19, "\u0663")),
    *((name, bad) for name in DURATIONS for bad in ("0s", "-1s", "soon", "5 parsecs", "5M", "1e3")),
    *((name, "0") for name in DURATIONS if name != "DOWNLOAD_BUDGET"),
    *((name, "9" * 400) for name in DURATIONS),
    ("RETENTION", "4000000d"),  # a date past the year 9999
    *(("MAX_BYTES", bad) for bad in ("0", "-1", "10MB", "lots", "0.5", "9" * 400)),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("METRICS_PORT", "65536"),
    ("LOG_FORMAT", "xml"),
    ("WEB_WORKERS", "0"),
    ("WORKER_THREADS", "257"),
    ("MAX_ATTEMPTS", "0"),
    ("MAX_REDIRECTS", "101"),
    ("RABBITMQ_URL", "http://rabbit"),
    ("RABBITMQ_URL", "amqp://"),
    ("RABBITMQ_URL", "rabbit:5672"),
    ("RABBITMQ_URL", "amqp://rabbit:99999"),
    ("MONGODB_URL", "mongo:27017"),
    ("MONGODB_URL", "mongodb://"),
    ("SMTP_URL", "mail.example.com"),
    ("SMTP_URL", "smtp://[::1"),
    ("SMTP_URL", "smtp://mail.example.com:99999"),
    ("SMTP_URL", "smtp://:25"),
    ("PUBLIC_URL", "ftp://example.com"),
    ("PUBLIC_URL", "example.com"),
    ("ALLOW_NETWORKS", "10.0.0.1/8"),
    ("ALLOW_NETWORKS", "localhost"),
    ("ALLOW_NETWORKS", "10.0.0.0/8 ::1"),
    *(("API_TOKENS", bad) for bad in (",", " ", "short", "a-long random-token", "\xe4" * 20)),
    ("API_TOKENS", "=" * 20),
    *(
        ("CORS_ORIGINS", bad)
        for bad in (
            "example.com",
            "ftp://example.com",
            "https://example.com/",
            "https://Example.com",
            "https://me@example.com",
            "https://example.com:443",
            "http://localhost:99999",
            "https://*.example.com",
            "https://a.example.com https://b.example.com",
            "*,https://example.com",
            "null",
        )
    ),
    *(("USER_AGENT", bad) for bad in ("a\r\nX: b", "a\nb", "a\0", "a\tb", "caf\xe9", "a" * 1001)),
    ("MAX_UNFINISHED", "0"),
    ("MAIL_FROM", "nobody"),
    ("MAIL_FROM", "@example.com"),
    ("MAIL_FROM", "a@example.com, b@example.com"),
    ("MAIL_FROM", "a@example.com\r\nBcc: b@example.com"),
    ("MAIL_FROM", "A\rB <a@example.com>"),
    ("MAIL_FROM", "A\0B <a@example.com>"),
    ("MAIL_FROM", "a@b\xfccher.example"),
]


@pytest.mark.parametrize(("name", "bad"), BAD_VALUES)
def test_bad_value_names_its_variable(name: str, bad: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.from_env({name: bad})


@pytest.mark.parametrize("name", SECRETS)
def test_secret_from_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRETS[name]}\n")
    settings = Settings.from_env({f"{name}_FILE": str(path)})
    assert settings == Settings.from_env({name: SECRETS[name]})


@pytest.mark.parametrize("name", SECRETS)
def test_secret_and_its_file_exclude_each_other(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRETS[name])
    with pytest.raises(SettingsError, match=rf"^{name}: .*{name}_FILE"):
        Settings.from_env({name: SECRETS[name], f"{name}_FILE": str(path)})


@pytest.mark.parametrize("name", SECRETS)
def test_secret_that_is_not_yet_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n")
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.from_env({f"{name}_FILE": str(path)})


def test_unreadable_file_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^SMTP_URL: "):
        Settings.from_env({"SMTP_URL_FILE": str(tmp_path / "missing")})


def test_secret_file_that_is_not_text_names_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"^SMTP_URL: "):
        Settings.from_env({"SMTP_URL_FILE": str(path)})


def test_repr_shows_no_secret() -> None:
    settings = Settings.from_env(SECRETS)
    assert "s3cret" not in repr(settings)
    assert "port=8000" in repr(settings)


@pytest.mark.parametrize(
    "bad",
    ["http://me:s3cret@mail", "smtp://me:s3cret@[::1", "smtp://me:s3cret@m\u2100il.example.com"],
)
def test_error_shows_no_secret(bad: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"SMTP_URL": bad})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["a..b@c.d", "a@b.", "Foo <.a@b.c>", "a@", "a@b.c, d@e.f"])
def test_a_sender_that_no_mail_could_have(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^MAIL_FROM: "):
        Settings.from_env({"MAIL_FROM": value})


def test_a_ca_bundle_without_a_certificate(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for path in (junk, tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match=r"^CA_BUNDLE: "):
            Settings.from_env({"CA_BUNDLE": str(path)})


def test_an_api_token_that_is_refused_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"API_TOKENS": "s3cret"})
    assert "s3cret" not in str(caught.value)


ALL = {each.name.upper() for each in fields(Settings)}


def test_every_setting_is_documented() -> None:
    text = (PROJECT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"`([A-Z_]+)`", text)) >= ALL


@pytest.mark.parametrize("option", ["?tls=off", "?tls=unverified"])
def test_the_options_of_the_mail_server(option: str) -> None:
    url = f"smtp://mail.example.com:587{option}"
    assert Settings.from_env({"SMTP_URL": url}).smtp_url == url


@pytest.mark.parametrize("option", ["?tls=maybe", "?tls=", "?starttls=off", "?tls=off&tls=off"])
def test_an_unknown_option_of_the_mail_server_is_named(option: str) -> None:
    with pytest.raises(SettingsError, match=r"^SMTP_URL: .*tls=off"):
        Settings.from_env({"SMTP_URL": f"smtp://mail.example.com{option}"})


def test_tls_cannot_be_switched_off_where_it_is_the_scheme() -> None:
    with pytest.raises(SettingsError, match=r"^SMTP_URL: .*tls=off"):
        Settings.from_env({"SMTP_URL": "smtps://mail.example.com?tls=off"})


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", ""),
        ("https://example.org", ""),
        ("https://example.org/", ""),
        ("https://example.org/md5", "/md5"),
        ("https://example.org/a/md5/?b#c", "/a/md5"),
        ("https://example.org//md5", "/md5"),
        ("https://example.org/prüfsumme", "/pr%C3%BCfsumme"),
        ("https://example.org/pr%C3%BCfsumme", "/pr%C3%BCfsumme"),
    ],
)
def test_public_path_is_that_of_the_public_url(url: str, path: str) -> None:
    assert Settings.from_env({"PUBLIC_URL": url}).public_path == path
