"""The tables of the documentation are those of the code."""

import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from devtools import texts
from devtools.servers.process import PROJECT
from settings import Settings

NAMES = sorted({name for name, _ in texts.TABLES} | {texts.OPENAPI})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of all texts that are written."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def test_texts_are_up_to_date(folder: Path) -> None:
    assert texts.write(folder, is_check=True) == []


@pytest.mark.parametrize("name", NAMES)
def test_outdated_text_is_noticed_and_written(folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    changed = text.replace("The file is larger than", "It is more than", 1)
    changed = changed.replace("The most redirects of one download", "Redirects", 1)
    changed = changed.replace("Whether the store answers", "Whether it answers", 1)
    assert changed != text
    (folder / name).write_text(changed)
    assert texts.write(folder, is_check=True) == [name]
    assert texts.write(folder, is_check=False) == [name]
    assert (folder / name).read_text() == text


def test_missing_marker_is_an_error(folder: Path) -> None:
    (folder / "docs/errors.md").write_text("# Errors")
    with pytest.raises(ValueError, match="the markers of failure codes are missing"):
        texts.write(folder, is_check=True)


SET_BY_COMPOSE = {"HOST", "PORT", "RABBITMQ_URL", "MONGODB_URL", "DATA_DIR", "CA_BUNDLE"}
FOR_COMPOSE_ONLY = {
    "RABBITMQ_PASSWORD",
    "MONGODB_PASSWORD",
    "WORKER_PROCESSES",
    "SERVICE_MEMORY",
    "WORKER_MEMORY",
}


def test_env_example_lists_the_settings() -> None:
    example = (PROJECT / ".env.example").read_text()
    listed = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    settings = {each.name.upper() for each in fields(Settings)}
    assert listed - FOR_COMPOSE_ONLY == settings - SET_BY_COMPOSE - {"METRICS_PORT"}
    compose = (PROJECT / "docker-compose.yml").read_text()
    assert [name for name in listed if f"${{{name}:" not in compose] == []
