"""Some downloads in a process of their own: `python -m bench.fetch KIND COUNT URL DIGEST...`.

KIND is `download`, ours as in a worker with COUNT threads, or `receive`, which hashes nothing.
"""

import json
import math
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from fetch.kept import KeptConnections
from settings import Settings
from tasks.digests import ALWAYS, Algorithm
from worker.downloader import Downloader

BUFFER_BYTES = 2**19


def main() -> None:
    """Download; the figures go to the standard output."""
    kind, count, url, *digests = sys.argv[1:]
    download: Callable[[str], tuple[int, str]] = _receive
    if kind == "download":
        download = _downloader([*ALWAYS, *map(Algorithm, digests)])
    used, began = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(int(count)) as threads:
        results = list(threads.map(download, [url] * int(count)))
    figures = {
        "bytes": sum(size for size, _ in results),
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - used,
        "md5": results[0][1],
        "peak_memory": _peak_memory(),
    }
    json.dump(figures, sys.stdout)


def _ignore(*_: object) -> None:
    """Do nothing."""


def _downloader(algorithms: Sequence[Algorithm]) -> Callable[[str], tuple[int, str]]:
    fetch = Downloader(Settings.from_env(os.environ), KeptConnections()).fetch

    def download(url: str) -> tuple[int, str]:
        digest = fetch(url, algorithms, _ignore, lambda: False, math.inf, _ignore)
        return digest.size, digest.md5

    return download


def _receive(url: str) -> tuple[int, str]:
    """Return how many bytes of a body were received, with as little work as Python can do."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    connection = socket.create_connection((parts.hostname, parts.port))
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=os.environ["CA_BUNDLE"])
        connection = context.wrap_socket(connection, server_hostname=parts.hostname)
    with connection:
        head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(2**12)
        size = len(received) - received.index(b"\r\n\r\n") - 4
        buffer = bytearray(BUFFER_BYTES)
        while part := connection.recv_into(buffer):
            size += part
        return size, ""


def _peak_memory() -> int:
    """Return VmHWM in bytes. What getrusage says may be that of the parent, before the exec."""
    status = Path("/proc/self/status").read_text()
    (kibibytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(kibibytes) * 2**10


if __name__ == "__main__":
    main()
