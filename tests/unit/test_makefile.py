"""What make says on a machine that lacks something."""

import os
import subprocess
from pathlib import Path

import pytest

from devtools.servers.process import PROJECT

WITHOUT_VENV = r"""
case "$2" in
*version_info\ \<*) ;;
*ensurepip*) exit 1 ;;
*) echo python3.11-venv ;;
esac
"""
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")


def make_venv(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Let an ordinary user make the virtual environment where every Python is this script."""
    programs = {"id": "echo 1000", **dict.fromkeys(PYTHONS, python)}
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    venv = folder / "venv"
    return subprocess.run(
        ["make", "--silent", f"VENV={venv}", f"{venv}/bin/pip"],
        cwd=PROJECT,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("python", "line"),
    [
        (
            WITHOUT_VENV,
            "Python's venv is missing: sudo apt install python3.11-venv",
        ),
        ("exit 1", "Python 3.11 or later is needed: sudo apt install python3 python3-venv"),
    ],
    ids=["without venv", "too old"],
)
def test_a_missing_part_of_python_is_named_in_one_line(
    tmp_path: Path, python: str, line: str
) -> None:
    made = make_venv(tmp_path, python)
    assert made.returncode != 0
    first, *others = made.stderr.splitlines()
    assert first == line
    assert all(each.startswith("make: ***") for each in others)
    assert not made.stdout
