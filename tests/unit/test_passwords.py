"""The passwords of docker-compose.yml: random, kept, or those of `.env`."""

import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from devtools.servers.process import PROJECT, coverage_variables
from settings import Settings

Run = Callable[..., subprocess.CompletedProcess[str]]

FILES = {"rabbitmq_password", "rabbitmq.conf", "rabbitmq_url", "mongodb_password", "mongodb_url"}
OLD_DATA = {"RABBITMQ": "rabbitmq/mnesia/rabbit@rabbitmq", "MONGODB": "mongo/WiredTiger"}


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    for name in ("passwords", "volumes/rabbitmq", "volumes/mongo"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "passwords"


@pytest.fixture
def run(passwords: Path) -> Run:
    def start(**environ: str) -> subprocess.CompletedProcess[str]:
        folders = [str(passwords), str(passwords.with_name("volumes"))]
        return subprocess.run(
            [sys.executable, "-m", "settings.passwords", *folders],
            cwd=PROJECT,
            env={**coverage_variables(), **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_random_passwords_are_made_once(passwords: Path, run: Run) -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    first = contents(passwords)
    assert first.keys() == FILES
    for name in ("rabbitmq_password", "mongodb_password"):
        assert re.fullmatch("[0-9a-f]{32}", first[name])
        assert first[name] not in done.stdout
    assert first["rabbitmq_password"] != first["mongodb_password"]

    assert run().returncode == 0
    assert contents(passwords) == first


@pytest.mark.parametrize("password", ["Secret-1_2", "a.b~c!d*e+f,g;h=i"])
def test_the_files_of_a_password_agree(passwords: Path, run: Run, password: str) -> None:
    assert run(RABBITMQ_PASSWORD=password, MONGODB_PASSWORD=password).returncode == 0
    files = contents(passwords)
    settings = Settings.from_env(
        {
            "RABBITMQ_URL_FILE": str(passwords / "rabbitmq_url"),
            "MONGODB_URL_FILE": str(passwords / "mongodb_url"),
        }
    )
    for url in (settings.rabbitmq_url, settings.mongodb_url):
        parts = urlsplit(url or "")
        assert (parts.username, unquote(parts.password or "")) == ("md5light", password)
    assert files["rabbitmq.conf"] == f"default_user = md5light\ndefault_pass = {password}\n"
    assert files["rabbitmq_password"] == files["mongodb_password"] == password


def test_every_user_may_read_the_files_and_none_may_write(passwords: Path, run: Run) -> None:
    run()
    assert {stat.S_IMODE(file.stat().st_mode) for file in passwords.iterdir()} == {0o444}


def test_a_password_of_env_replaces_the_kept_one_and_is_kept(passwords: Path, run: Run) -> None:
    run()
    run(MONGODB_PASSWORD="chosen")
    assert contents(passwords)["mongodb_password"] == "chosen"
    run(MONGODB_PASSWORD="")
    assert contents(passwords)["mongodb_password"] == "chosen"


@pytest.mark.parametrize("server", OLD_DATA)
def test_a_volume_of_an_earlier_version_keeps_its_password(
    passwords: Path, run: Run, server: str
) -> None:
    (passwords.with_name("volumes") / OLD_DATA[server]).mkdir(parents=True)
    done = run()
    files = contents(passwords)
    is_old = {name: files[f"{name.lower()}_password"] == "md5light" for name in OLD_DATA}
    assert is_old == {name: name == server for name in OLD_DATA}
    assert f"{server}_PASSWORD: the published default" in done.stdout
    assert "see Passwords in docs/operations.md" in done.stdout


@pytest.mark.parametrize("password", ["with space", "a#b", "a\nb", "a@b", "ä"])
def test_a_password_that_needs_quoting_is_refused(passwords: Path, run: Run, password: str) -> None:
    done = run(RABBITMQ_PASSWORD=password)
    assert done.returncode == 1
    assert done.stderr == "RABBITMQ_PASSWORD: may contain only letters, digits and -._~!*+,;=\n"
    assert contents(passwords) == {}
