"""Facts about the project that stand in more than one file."""

import json
import re
import tomllib

import pytest

from devtools.servers.process import PROJECT
from settings import VERSION

LOCKS = ["requirements.txt", "requirements-dev.txt"]


def read(name: str) -> str:
    return (PROJECT / name).read_text()


def test_there_is_one_version() -> None:
    assert tomllib.loads(read("pyproject.toml"))["project"]["version"] == VERSION
    assert json.loads(read("service/docs/openapi.json"))["info"]["version"] == VERSION
    assert re.findall(r"^## \[?([0-9.]+)", read("CHANGELOG.md"), re.MULTILINE)[0] == VERSION


def test_the_locks_hold_what_the_project_asks_for() -> None:
    for name, lock in zip(("run", "dev"), LOCKS, strict=True):
        asked = re.findall(r"^([\w-]+==[\w.]+)", read(f"requirements/{name}.in"), re.MULTILINE)
        locked = re.findall(r"^([\w-]+==[\w.]+)", read(lock), re.MULTILINE)
        assert {each.replace("_", "-") for each in asked} <= set(locked)
    assert set(re.findall(r"^[\w-]+==.*", read(LOCKS[0]), re.MULTILINE)) <= set(
        re.findall(r"^[\w-]+==.*", read(LOCKS[1]), re.MULTILINE)
    )


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_file_has_a_hash_and_no_index_is_named(name: str) -> None:
    entries = re.split(r"^(?=[\w-]+==)", read(name), flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in read(name)
    assert "index-url" not in read(name)


@pytest.mark.parametrize("name", ["Dockerfile", "Makefile"])
def test_requirements_are_installed_by_their_hashes(name: str) -> None:
    installs = re.findall(r"(?:pip install|call pip,).* -r .*", read(name))
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_the_workflow_runs_ci_on_every_supported_python() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert 'python: ["3.11", "3.12", "3.13", "3.14"]' in workflow
    assert "run: .ci/run" in workflow
    assert tomllib.loads(read("pyproject.toml"))["project"]["requires-python"] == ">=3.11"


def test_commits_are_checked_by_the_tools_of_make_check() -> None:
    makefile = read("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    tools = re.findall(r"\$\(BIN\)/(.*)", makefile)
    hooks = read(".pre-commit-config.yaml")
    assert len(tools) > 3
    assert [tool for tool in tools if f"entry: .venv/bin/{tool}\n" not in hooks] == []
