"""Importing a module does nothing. `actors`, which makes the process a worker, is the exception."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = ("settings", "telemetry", "tasks", "fetch", "worker", "service")
FILES = [each for room in ROOMS for each in sorted((PROJECT / room).rglob("*.py"))]

# Runs in a fresh interpreter. It imports ours once in a child to learn which libraries they need,
# then imports these libraries, and only then watches what importing ours does.
PROBE = r"""
import contextlib, importlib, json, logging, os, sys, threading

ours, libraries = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for name in libraries:
    with contextlib.suppress(ModuleNotFoundError):  # made by a library at run time
        importlib.import_module(name)


def globals_of_libraries():
    return {
        f"{name}.{key}": id(value)
        for name in libraries
        if name in sys.modules
        for key, value in vars(sys.modules[name]).items()
        if not key.startswith("__") and type(value) is not type(sys)
    }


def loggers():
    return {
        name: (each.level, len(each.handlers), len(each.filters))
        for name, each in logging.root.manager.loggerDict.items()
        if isinstance(each, logging.Logger) and not name.startswith(tuple(ours))
    }


def state():
    return {
        "environment": dict(os.environ),
        "threads": [each.name for each in threading.enumerate()],
        "root logger": (logging.root.level, len(logging.root.handlers)),
        **loggers(),
        **globals_of_libraries(),
    }


def watch(event, args):
    if event == "open":
        path, flags = str(args[0]), args[2] or 0
        if not path.endswith((".py", ".pyc")) or flags & (os.O_WRONLY | os.O_RDWR):
            seen.append(f"open {path}")
    elif event.split(".")[0] in ("socket", "subprocess", "sqlite3", "shutil", "tempfile"):
        seen.append(event)
    elif event in ("os.mkdir", "os.putenv", "os.remove", "os.rename", "os.chmod", "os.fork"):
        seen.append(event)


before, seen = state(), []
sys.addaudithook(watch)
for name in ours:
    importlib.import_module(name)
after = state()
seen += [f"changed: {key}" for key in before if after.get(key) != before[key]]
print(json.dumps(seen))
"""
LIST_LIBRARIES = r"""
import importlib, json, sys

known = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
rooms = set(json.loads(sys.argv[2]))
print(json.dumps([each for each in sys.modules if each.split(".")[0] not in rooms]))
"""


def name_of(file: Path) -> str:
    parts = file.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run(program: str, *arguments: object) -> list[str]:
    """Run a program in a fresh interpreter, and return the list that it prints."""
    command = [sys.executable, "-B", "-c", program, *map(json.dumps, arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed: list[str] = json.loads(done.stdout)
    return printed


def what_importing_does(names: list[str]) -> list[str]:
    rooms = [*ROOMS, "__main__", "__mp_main__"]
    libraries = run(LIST_LIBRARIES, names, rooms)
    return run(PROBE, names, libraries)


def test_importing_every_module_does_nothing() -> None:
    modules = [name_of(file) for file in FILES if file.name != "__main__.py"]
    assert len(modules) > 60
    assert what_importing_does([*modules, "service.__main__"]) == []


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("import os; os.environ['A'] = 'b'", "os.putenv"),
        ("import pathlib; pathlib.Path('{folder}/file').write_text('x')", "open {folder}/file"),
        ("import logging; logging.getLogger('pika').setLevel(50)", "changed: pika"),
        (
            "import prometheus_client.values as v; v.ValueClass = object",
            "changed: prometheus_client.values.ValueClass",
        ),
    ],
)
def test_effects_of_an_import_are_noticed(tmp_path: Path, line: str, effect: str) -> None:
    (tmp_path / "guilty.py").write_text(line.format(folder=tmp_path))
    libraries = [
        "os",
        "logging",
        "pathlib",
        "pika",
        "prometheus_client",
        "prometheus_client.values",
    ]
    probe = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROBE}"
    assert effect.format(folder=tmp_path) in run(probe, ["guilty"], libraries)


def test_no_module_looks_at_what_is_imported() -> None:
    guilty = [str(file) for file in FILES if re.search(r"\bsys\.modules\b", file.read_text())]
    assert guilty == []


def test_only_dramatiq_imports_the_entry_point() -> None:
    """Its import builds a worker, as `dramatiq actors` expects."""
    importing = re.compile(r"^\s*(from|import) actors\b", re.MULTILINE)
    files = [*FILES, *(PROJECT / "bench").rglob("*.py"), *(PROJECT / "devtools").rglob("*.py")]
    assert [str(file) for file in files if importing.search(file.read_text())] == []
    done = subprocess.run(
        [sys.executable, "-B", "-c", "import actors"],
        cwd=PROJECT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RABBITMQ_URL is not set" in done.stderr
