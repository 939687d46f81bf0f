"""Writes the tables of the documentation from the rows in the code.

`make texts` writes them, and `make check` fails if one is out of date.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from pathlib import Path

from devtools.rules import read_rules
from devtools.servers.process import PROJECT
from service import metrics as service_metrics
from service import store_gauges
from settings import DEFAULT_USER_AGENT, Settings
from settings.parsing import parse_size
from tasks.digests import Algorithm
from tasks.failure import FailureCode
from telemetry.metrics import Row
from worker import metrics as worker_metrics

# The settings that docker-compose.yml itself makes.
SET_BY_COMPOSE = frozenset(
    {
        "CA_BUNDLE",
        "DATA_DIR",
        "HOST",
        "METRICS_PORT",
        "MONGODB_URL",
        "PORT",
        "RABBITMQ_URL",
        "SMTP_URL",
        "WORKER_THREADS",
    }
)
# Those that have a place above the others in .env.example.
IN_EXAMPLE = frozenset({"MAIL_FROM", "PUBLIC_URL"})
# The defaults that depend on something else.
_DEFAULTS = {"user_agent": DEFAULT_USER_AGENT, "ca_bundle": "that of certifi"}
_DURATIONS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SIZES = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


def settings_table() -> str:
    """Return the table of all settings. A setting with a star may be given as a file."""
    rows = (
        (
            f"`{each.name.upper()}`{' *' if each.metadata['secret'] else ''}",
            _default(each),
            each.metadata["meaning"],
        )
        for each in fields(Settings)
    )
    return _table(("variable", "default", "meaning"), rows)


def _default(setting: Field[object]) -> str:
    if setting.name in _DEFAULTS:
        return _DEFAULTS[setting.name]
    value = setting.default
    if value is None or value == ():
        return ""
    if not isinstance(value, int | float):
        return f"`{value}`"
    units = _DURATIONS if isinstance(value, float) else {}
    if setting.metadata["parse"] is parse_size:
        units = _SIZES
    return _with_unit(value, units)


def _with_unit(value: float, units: Mapping[str, int]) -> str:
    for unit, size in units.items():
        if value and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:.10g}"


def env_example() -> str:
    """Return a line for each setting that `.env` may change, with its default."""
    return "\n".join(
        f"#{each.name.upper()}={_default(each).strip('`')}"
        for each in fields(Settings)
        if each.name.upper() not in SET_BY_COMPOSE | IN_EXAMPLE
    )


def compose_environment() -> str:
    """Return the name of each setting that compose passes from `.env` to the containers."""
    return "\n".join(
        name
        for name in (each.name.upper() for each in fields(Settings))
        if name not in SET_BY_COMPOSE
    )


def failure_codes_table() -> str:
    """Return the table of the codes with which a task fails."""
    rows = ((f"`{code.value}`", code.meaning, code.retried) for code in FailureCode)
    return _table(("code", "meaning", "retried"), rows)


def metric_rows() -> list[Row]:
    """Return the rows of all metrics."""
    return [
        *store_gauges.ROWS,
        worker_metrics.broker_up.row,
        *(metric.row for metric in service_metrics.METRICS),
    ]


def metrics_table() -> str:
    """Return the table of all metrics."""
    return _table(
        ("metric", "meaning", "alert"),
        (
            (
                f"`{row.name}{{{', '.join(row.labels)}}}`" if row.labels else f"`{row.name}`",
                row.meaning,
                _alerts_of(row.name),
            )
            for row in metric_rows()
        ),
    )


def _alerts_of(metric: str) -> str:
    """Return links to the paragraphs about the alerts that ask for a metric."""
    names = (rule.alert for rule in read_rules() if metric in rule.metrics)
    return ", ".join(f"[{name}](#{name.lower()})" for name in names)


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(heading)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


BLOCKS: Mapping[tuple[str, str], Callable[[], str]] = {
    ("docs/configuration.md", "settings"): settings_table,
    ("docs/errors.md", "failure codes"): failure_codes_table,
    ("docs/operations.md", "metrics"): metrics_table,
    (".env.example", "settings"): env_example,
    ("compose.env", "settings"): compose_environment,
}
MARKERS = {".md": "<!-- {} -->", ".example": "# {}", ".env": "# {}"}
OPENAPI = "service/docs/openapi.json"


def with_block(text: str, marker: str, name: str, block: str) -> str:
    """Return the text with the block between its markers. Raises ValueError without them."""
    begin, end = (
        marker.format(f"{name}: written by make texts"),
        marker.format(f"end of {name}"),
    )
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the markers of {name} are missing")
    return f"{before}{begin}\n{block}\n{end}{after}"


def with_failure_codes(text: str) -> str:
    """Return the OpenAPI document with the schema of the failure codes."""
    choices = ",\n".join(
        " " * 10 + json.dumps({"const": code.value, "description": code.meaning})
        for code in FailureCode
    )
    schema = (
        '      "FailureCode": {\n        "title": "Why a task fails",\n'
        f'        "oneOf": [\n{choices}\n        ]\n      }}'
    )
    return _with_parts(text, {r'      "FailureCode": \{.*?\n      \}': schema})


def with_digests(text: str) -> str:
    """Return the OpenAPI document with what it says about each digest."""
    expected = {
        each.value: {"$ref": f"#/components/schemas/Expected{each.name}"} for each in Algorithm
    }
    parameters = ({"name": name, "in": "query", "schema": ref} for name, ref in expected.items())
    results: dict[str, object] = {
        f"{prefix}{each.value}": {"$ref": f"#/components/schemas/{each.name}"}
        for prefix in ("", "origin_")
        for each in Algorithm
    }
    rules: dict[str, object] = {
        f"Expected{each.name}": {
            "type": "string",
            "pattern": f"^([0-9a-fA-F]{{{each.hex_digits}}})?$",
            "description": f"The {each.label} that you expect, which is computed as well."
            " The answer then has `verified`. Empty: none.",
        }
        for each in Algorithm
    }
    schemas: dict[str, object] = {
        each.name: {"type": "string", "pattern": f"^[0-9a-f]{{{each.hex_digits}}}$"}
        for each in Algorithm
    }
    names = "|".join(Algorithm)
    rules["Digests"] = {
        "type": "string",
        "pattern": f"^$|^ *({names}) *(, *({names}) *)*$",
        "description": "Digests to compute besides the MD5: one or more names, separated by commas."
        " They cost no second download. Empty: none.",
    }
    schema = r'\{"\$ref": "#/components/schemas/'
    parts = {
        r' +\{"name": "md5", "in": "query".*?(?=\n        \])': ",\n".join(
            f"          {json.dumps(each)}" for each in parameters
        ),
        rf' +"md5": {schema}ExpectedMD5"\}}.*?(?=\n        \}})': _members(expected, 10),
        rf' +"md5": {schema}MD5"\}}.*?(?=,\n          "status")': _members(results, 10),
        r' +"ExpectedMD5": \{.*?(?=,\n      "URLs")': _members(rules, 6),
        r' +"MD5": \{"type".*?(?=,\n      "ID")': _members(schemas, 6),
        r'(?<="Which digest, for md5sum.", "schema": \{"enum": )\[.*?\]': json.dumps(
            list(Algorithm)
        ),
    }
    return _with_parts(text, parts)


def _members(values: Mapping[str, object], indent: int) -> str:
    """Return the members of a JSON object, each in a line."""
    return ",\n".join(
        f'{" " * indent}"{name}": {json.dumps(each)}' for name, each in values.items()
    )


def _with_parts(text: str, parts: Mapping[str, str]) -> str:
    """Return the text with the only match of each pattern replaced."""
    for pattern, part in parts.items():
        text, count = re.subn(pattern, lambda _, part=part: part, text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"there are {count} matches of {pattern}")
    return text


def write(folder: Path, *, is_check: bool) -> list[str]:
    """Write the texts below a folder, or only check them. Returns the names of those outdated."""
    texts = {name: (folder / name).read_text() for name, _ in BLOCKS}
    texts[OPENAPI] = (folder / OPENAPI).read_text()
    changed = dict(texts)
    for (name, block), make in BLOCKS.items():
        marker = MARKERS[Path(name).suffix]
        changed[name] = with_block(changed[name], marker, block, make())
    changed[OPENAPI] = with_digests(with_failure_codes(changed[OPENAPI]))
    outdated = [name for name, text in texts.items() if changed[name] != text]
    if not is_check:
        for name in outdated:
            (folder / name).write_text(changed[name])
    return outdated


def main() -> None:
    """Write or check the texts of the project."""
    parser = argparse.ArgumentParser(prog="python -m devtools.texts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a text is out of date")
    is_check = parser.parse_args().check
    outdated = write(PROJECT, is_check=is_check)
    if is_check and outdated:
        sys.exit(f"out of date, run `make texts`: {', '.join(outdated)}")


if __name__ == "__main__":
    main()
