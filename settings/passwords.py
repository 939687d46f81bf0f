"""Makes the passwords between the containers of docker-compose.yml: `python -m settings.passwords`.

It runs once before the servers start. A password of `.env` is taken as it is. Without one, a random
password is made at the first start and kept in the volume `passwords`, as files that RabbitMQ,
MongoDB, the service and the workers read.
"""

import os
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

USER = "md5light"
EARLIER_DEFAULT = "md5light"  # of versions that published a default
ALLOWED = r"[A-Za-z0-9._~!*+,;=-]+"  # needs no quoting in a file of RabbitMQ


@dataclass(frozen=True, slots=True)
class Server:
    """A server with a password."""

    variable: str  # in .env
    data: str  # what a volume contains once the server has begun to use it
    kept: str  # the file with its password alone
    files: Mapping[str, str]  # the others


SERVERS = (
    Server(
        "RABBITMQ_PASSWORD",
        "rabbitmq/mnesia/rabbit@rabbitmq",
        "rabbitmq_password",
        {
            "rabbitmq.conf": f"default_user = {USER}\ndefault_pass = {{password}}\n",
            "rabbitmq_url": f"amqp://{USER}:{{quoted}}@rabbitmq:5672/%2F",
        },
    ),
    Server(
        "MONGODB_PASSWORD",
        "mongo/WiredTiger",
        "mongodb_password",
        {"mongodb_url": f"mongodb://{USER}:{{quoted}}@mongo:27017/md5_light?authSource=admin"},
    ),
)


def write(server: Server, folder: Path, volumes: Path, environ: Mapping[str, str]) -> str:
    """Write the files of a server, and return where its password comes from.

    Raises ValueError for a password that cannot be used.
    """
    kept = folder / server.kept
    if password := environ.get(server.variable, ""):
        origin = "of .env"
    elif kept.exists():
        password, origin = kept.read_text(), f"kept in the volume {folder.name}"
    elif (volumes / server.data).exists():
        password = EARLIER_DEFAULT
        origin = (
            "the published default, as the server's volume is from version 1.0, or the volume"
            f" {folder.name} was lost; see Passwords in docs/operations.md"
        )
    else:
        password, origin = secrets.token_hex(16), "random, made now"
    if not re.fullmatch(ALLOWED, password):
        raise ValueError(f"{server.variable}: may contain only letters, digits and -._~!*+,;=")
    for name, content in server.files.items():
        _replace(folder / name, content.format(password=password, quoted=quote(password, safe="")))
    _replace(kept, password)
    return origin


def _replace(file: Path, content: str) -> None:
    """Write a file of which a killed program leaves the old content or the new one."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(content)
    new.chmod(0o444)  # its readers are different users, in containers that mount the volume
    new.replace(file)


def main() -> None:
    """Write the files of all servers below the folders on the command line."""
    folder, volumes = map(Path, sys.argv[1:])
    for server in SERVERS:
        try:
            origin = write(server, folder, volumes, os.environ)
        except ValueError as error:
            sys.exit(str(error))
        sys.stdout.write(f"{server.variable}: {origin}\n")


if __name__ == "__main__":
    main()
