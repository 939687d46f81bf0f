"""Where the figures were taken: they say little without it."""

import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pymongo

from bench.lab import Lab
from devtools.servers.process import PROJECT

PACKAGES = ("dramatiq", "pika", "pymongo", "requests", "urllib3", "sanic")


def describe(lab: Lab) -> dict[str, str]:
    """Machine and versions, by name."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _ask("git", "describe", "--always", "--dirty"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": python_version(),
        "packages": packages,
        "servers": f"nginx {lab.nginx.version}, RabbitMQ {_rabbitmq(lab)}, MongoDB {_mongod(lab)}",
        "curl": _ask("curl", "--version").split()[1],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _rabbitmq(lab: Lab) -> str:
    connection = lab.rabbitmq.connect()
    properties: dict[str, bytes | str] = connection._impl.server_properties  # noqa: SLF001
    connection.close()
    return str(properties["version"])


def _mongod(lab: Lab) -> str:
    with pymongo.MongoClient[dict[str, object]](lab.mongod.database_url("admin")) as client:
        return str(client.server_info()["version"])


def _ask(*command: str) -> str:
    answer = subprocess.run(command, check=False, capture_output=True, text=True, cwd=PROJECT)
    return answer.stdout.strip() or "unknown"
