"""The tables of the documentation are those of the code."""

import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from devtools import texts
from devtools.servers.process import PROJECT
from settings import Settings

NAMES = sorted({name for name, _ in texts.BLOCKS} | {texts.OPENAPI})


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
    changed = changed.replace("#MAX_REDIRECTS=10", "#MAX_REDIRECTS=11", 1)
    changed = changed.replace("\nMAX_REDIRECTS\n", "\nREDIRECTS\n", 1)
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


def test_every_setting_is_in_a_file_for_compose() -> None:
    example = (PROJECT / ".env.example").read_text()
    compose = (PROJECT / "docker-compose.yml").read_text()
    passed_on = (PROJECT / "compose.env").read_text()
    image = (PROJECT / "Dockerfile").read_text()
    settable = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    fixed = set(re.findall(r"^    ([A-Z_]+?)(?:_FILE)?: ", compose, re.MULTILINE))
    fixed |= set(re.findall(r"\b([A-Z_]+)=", image))
    settings = {each.name.upper() for each in fields(Settings)}
    assert settings <= settable | fixed | {"CA_BUNDLE", "PORT"}
    used = set(re.findall(r"\$\{([A-Z_]+):-", compose))
    used |= set(re.findall(r"^([A-Z_]+)$", passed_on, re.MULTILINE))
    assert settable == used
