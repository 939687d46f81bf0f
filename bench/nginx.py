"""The origin of the files: nginx over http and https, private and in the foreground."""

import os
import subprocess
from functools import cached_property
from pathlib import Path

import trustme

from devtools.servers.process import MissingProgramError, Process, free_port
from devtools.waiting import wait_for

NGINX_COMMAND = Path("/usr/sbin/nginx")
TEMPORARY_FILES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
PIECE = 2**20
HOSTS = [f"127.0.{block}.{number}" for block in range(10) for number in range(1, 101)]

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    {temporary_files}
    server {{
        {listen}
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {folder}/files;
    }}
}}
"""


class Nginx:
    """Files at `http` and `https`, whose certificate the authority in `ca_bundle` has signed.

    Each of `hosts` serves the same files.
    """

    def __init__(self, folder: Path) -> None:
        if not NGINX_COMMAND.exists():
            raise MissingProgramError("nginx is not installed")
        self._folder = folder
        self._files = folder / "files"
        self._files.mkdir(parents=True)
        port, tls_port = free_port(), free_port()
        self.http = f"http://127.0.0.1:{port}"
        self.hosts = [f"http://{each}:{port}" for each in HOSTS]
        self.https = f"https://127.0.0.1:{tls_port}"
        self.ca_bundle = folder / "authority.pem"
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_bundle)
        certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                user="user root;" if os.geteuid() == 0 else "",
                folder=folder,
                temporary_files=" ".join(f"{each}_temp_path {folder};" for each in TEMPORARY_FILES),
                listen=" ".join(f"listen {each}:{port} backlog=4096;" for each in HOSTS),
                tls_port=tls_port,
            )
        )
        command = [str(NGINX_COMMAND), "-e", "stderr", "-p", str(folder), "-c", str(configuration)]
        self._process = Process(command, folder, os.environ)
        wait_for(lambda: (folder / "pid").exists() or not self._process.is_running)
        assert self._process.is_running, self._process.output

    def add(self, size: int) -> str:
        """The path of a file of so many bytes, in the page cache."""
        path = self._files / str(size)
        if not path.exists():
            piece = os.urandom(PIECE)
            with path.open("wb") as file:
                for _ in range(size // PIECE):
                    file.write(piece)
                file.write(piece[: size % PIECE])
                os.fsync(file.fileno())  # or the disk would be busy with it later
        return f"/{path.name}"

    def read(self, path: str) -> bytes:
        return (self._files / path[1:]).read_bytes()

    @cached_property
    def version(self) -> str:
        answer = subprocess.run(
            [NGINX_COMMAND, "-v"], check=True, capture_output=True, text=True
        ).stderr
        return answer.strip().rpartition("/")[2]

    def stop(self) -> None:
        self._process.stop()
