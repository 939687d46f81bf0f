"""One big file: our download and the whole service against curl and against hashlib alone."""

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus

from bench import at_once, cpu
from bench.lab import Lab
from bench.rows import Row, alternate
from devtools.servers.system import Service
from devtools.waiting import FIRST_PAUSE, wait_for

BYTES = 10**9
RUNS = 3
CURL = "curl | md5sum"


def measure(lab: Lab) -> Iterator[Row]:
    """Over http and over https."""
    path = lab.nginx.add(BYTES)
    body = lab.nginx.read(path)
    with lab.service() as service:
        for scheme, url in (
            ("http", lab.nginx.http + path),
            ("https", lab.nginx.https + path),
        ):
            runs = alternate(
                RUNS,
                ours=partial(at_once.run, lab, "download", 1, url),
                service=partial(_submit, service, url),
                curl=partial(at_once.run_curls, lab, 1, url, BYTES),
                hashlib=partial(_hash, body),
            )
            assert len({run.md5 for each in runs.values() for run in each}) == 1
            yield from _rows(scheme, runs)
    yield from _more_digests(lab, lab.nginx.http + path)


def _rows(scheme: str, runs: dict[str, list[at_once.Run]]) -> Iterator[Row]:
    speeds = {name: [run.megabytes_per_second for run in results] for name, results in runs.items()}
    for name, contestant, rival, rival_name in (
        ("download", "ours", "curl", CURL),
        ("download", "ours", "hashlib", "hashlib.md5, in memory"),
        ("submit to done", "service", "curl", CURL),
    ):
        yield Row(
            name=f"1 GB over {scheme}, {name}",
            unit="MB/s",
            ours=speeds[contestant],
            rival_name=rival_name,
            rival=speeds[rival],
            is_more_better=True,
        )
    yield Row(
        name=f"1 GB over {scheme}, processor time",
        unit="s/GB",
        ours=[run.cpu_seconds_per_gigabyte for run in runs["ours"]],
        rival_name=CURL,
        rival=[run.cpu_seconds_per_gigabyte for run in runs["curl"]],
    )


def _more_digests(lab: Lab, url: str) -> Iterator[Row]:
    runs = alternate(
        RUNS,
        alone=partial(at_once.run, lab, "download", 1, url),
        two=partial(at_once.run, lab, "download", 1, url, "sha256"),
        all=partial(at_once.run, lab, "download", 1, url, "sha1", "sha256", "sha512"),
    )
    for name, digests in (("two", "MD5 and SHA-256"), ("all", "all four digests")):
        yield Row(
            name=f"1 GB over http, {digests}",
            unit="MB/s",
            ours=[run.megabytes_per_second for run in runs[name]],
            rival_name="our download, MD5 alone",
            rival=[run.megabytes_per_second for run in runs["alone"]],
            is_more_better=True,
        )


def _submit(service: Service, url: str) -> at_once.Run:
    used, began = cpu.of_group(service.pid), time.monotonic()
    task_id = service.submit(url)
    wait_for(
        lambda: service.check(task_id).status_code == HTTPStatus.OK,
        600,
        longest_pause=FIRST_PAUSE,
    )
    seconds = time.monotonic() - began
    return at_once.Run(
        bytes=BYTES,
        seconds=seconds,
        cpu_seconds=cpu.of_group(service.pid) - used,
        md5=service.check(task_id).json()["md5"],
    )


def _hash(body: bytes) -> at_once.Run:
    used, began = time.process_time(), time.monotonic()
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - used
    return at_once.Run(bytes=BYTES, seconds=seconds, cpu_seconds=cpu_seconds, md5=md5)
