"""The reverse proxies of deploy/, with the addresses and certificates of a test."""

import os
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import requests
import trustme

from devtools.servers.process import PROJECT, Process, find_program, free_port
from devtools.waiting import wait_for

FOLDER = PROJECT / "deploy"
TEMPORARY_FILES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

# Debian's /etc/nginx/nginx.conf, without the log files.
_NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    gzip on;
    {temporary_files}
    include {folder}/site.conf;
}}
"""
# The test's own files and ports, and no changes to the machine.
_CADDY = """
{{
    admin off
    auto_https disable_redirects
    storage file_system {folder}
}}
"""


class Proxy(Process, ABC):
    """A proxy that terminates TLS at `base`, and serves the service below its path."""

    def __init__(self, folder: Path, port: int, upstream: str) -> None:
        folder.mkdir(parents=True)
        self.base = f"https://127.0.0.1:{port}/md5"
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.ca_bundle = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.ca_bundle)
        certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        self._configure(folder, port, upstream.removeprefix("http://"))
        super().__init__(self._command(folder), folder, os.environ | self._environ(folder))
        wait_for(self._answers)

    @abstractmethod
    def _configure(self, folder: Path, port: int, upstream: str) -> None:
        """Write the configuration. `upstream` is the service's address and port."""

    @abstractmethod
    def _command(self, folder: Path) -> list[str]:
        """Return the command that starts the proxy in the foreground."""

    def _environ(self, _folder: Path) -> Mapping[str, str]:
        return {}

    def _answers(self) -> bool:
        assert self.is_running, self.output
        try:
            requests.head(self.base, verify=str(self.ca_bundle), allow_redirects=False, timeout=10)
        except requests.ConnectionError:
            return False
        return True


class Nginx(Proxy):
    """nginx with the site of deploy/nginx.conf."""

    def _configure(self, folder: Path, port: int, upstream: str) -> None:
        addresses = {
            r".*\[::\].*\n": "",
            r"listen 80;": f"listen 127.0.0.1:{free_port()};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            r"/etc/ssl/md5-light/": f"{folder}/",
            r"127\.0\.0\.1:8000": upstream,
            r"example\.org;": "127.0.0.1;",
        }
        (folder / "site.conf").write_text(_replace(FOLDER / "nginx.conf", addresses))
        configuration = _NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            temporary_files=" ".join(f"{each}_temp_path {folder};" for each in TEMPORARY_FILES),
        )
        (folder / "nginx.conf").write_text(configuration)
        done = subprocess.run(
            [*self._command(folder), "-t"], check=False, capture_output=True, text=True
        )
        # A directive that this version does not know, or deprecates, is a warning.
        assert done.returncode == 0, done.stderr
        assert "[warn]" not in done.stderr, done.stderr

    def _command(self, folder: Path) -> list[str]:
        program = find_program("nginx")
        return [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


class Caddy(Proxy):
    """Caddy with deploy/Caddyfile."""

    def _configure(self, folder: Path, port: int, upstream: str) -> None:
        certificate = f"tls {folder}/certificate.pem {folder}/key.pem"
        addresses = {
            r"example\.org \{": f"https://127.0.0.1:{port} {{\n\t{certificate}",
            r"127\.0\.0\.1:8000": upstream,
        }
        site = _replace(FOLDER / "Caddyfile", addresses)
        (folder / "Caddyfile").write_text(_CADDY.format(folder=folder) + site)

    def _command(self, folder: Path) -> list[str]:
        return [find_program("caddy"), "run", "--config", str(folder / "Caddyfile")]

    def _environ(self, folder: Path) -> Mapping[str, str]:
        return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}


def _replace(path: Path, addresses: Mapping[str, str]) -> str:
    """Return a file with each pattern replaced, which must be in it outside of comments."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    for pattern, address in addresses.items():
        text, count = re.subn(pattern, address, text)
        assert count, f"{pattern} is not in {path.name}"
    return text
