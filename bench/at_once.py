"""Some downloads at once, in a process of their own: `python -m bench.at_once KIND COUNT URL`.

KIND is `download`, ours as in a worker with as many threads, or `receive`, which hashes nothing.
"""

import json
import math
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from fetch.kept import KeptConnections
from settings import Settings
from tasks.digests import ALWAYS
from worker.downloader import Downloader

BUFFER_BYTES = 2**19


def main() -> None:
    """Download; the figures go to the standard output."""
    kind, count, url = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run: Callable[[str], int] = {"download": _downloader(), "receive": _receive}[kind]
    cpu, began = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(count) as threads:
        size = sum(threads.map(run, [url] * count))
    figures = {
        "size": size,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory": _peak_memory(),
    }
    json.dump(figures, sys.stdout)


def _downloader() -> Callable[[str], int]:
    fetch = Downloader(Settings.from_env(os.environ), KeptConnections()).fetch
    return lambda url: fetch(url, ALWAYS, lambda _done, _total: None, lambda: False, math.inf).size


def _peak_memory() -> int:
    """Return VmHWM in bytes. What getrusage says may be that of the parent, before the exec."""
    status = Path("/proc/self/status").read_text()
    (kibibytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(kibibytes) * 2**10


def _receive(url: str) -> int:
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
        return size


if __name__ == "__main__":
    main()
