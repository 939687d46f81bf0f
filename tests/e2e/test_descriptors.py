"""Descriptors are used sparingly, and given back."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import requests

from devtools.servers.deployment import System
from devtools.servers.raw_origin import RawOrigin, reply
from devtools.waiting import wait_for
from worker.descriptors import MAX_DESCRIPTORS

HOSTS = [f"127.0.{block}.{host}" for block in range(4) for host in range(1, 51)]


@contextmanager
def low_soft_limit(descriptors: int) -> Iterator[int]:
    """Start programs with this soft limit. Yields the limit that they should raise it to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_soft_limit_is_raised(system: System) -> None:
    with low_soft_limit(256) as limit:
        service = system.start()
    pids = [service.pid, *(system.workers.children if system.is_distributed else [])]
    for pid in pids:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == limit


def test_descriptors_return_when_the_service_idles(embedded: System) -> None:
    """Although the servers have closed their idle connections first, and no task follows."""
    service = embedded.start_service()
    with requests.Session() as session, RawOrigin([reply(b"hi")], host="0.0.0.0") as origin:
        url = f"{service.base}/check"
        session.get(f"{service.base}/health/live", timeout=5)
        before = count_descriptors(service.pid)
        ids = []
        for host in HOSTS:
            data = {"url": f"http://{host}:{origin.port}/"}
            ids.append(session.post(f"{service.base}/submit", data=data, timeout=10).json()["id"])
        for task_id in ids:
            wait_for(
                lambda: (
                    session.get(url, params={"id": task_id}, timeout=10).status_code  # noqa: B023
                    == HTTPStatus.OK
                )
            )
        wait_for(lambda: count_descriptors(service.pid) <= before + 10)
        assert session.get(f"{service.base}/health/ready", timeout=5).ok
