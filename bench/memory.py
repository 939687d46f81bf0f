"""What the size of the file does to the memory of the process that downloads it."""

import time
from collections.abc import Iterator
from http import HTTPStatus

from bench.lab import Lab
from bench.rows import Row, alternate

SIZES = {"10 MB": 10**7, "1 GB": 10**9, "5 GB": 5 * 10**9}
RUNS = 3
POLL_SECONDS = 1


def measure(lab: Lab) -> Iterator[Row]:
    """The peak of an embedded service that has downloaded one file, each in a new process."""
    paths = {name: lab.nginx.add(size) for name, size in SIZES.items()}
    peaks = alternate(
        RUNS, **{name: lambda path=path: _peak(lab, path) for name, path in paths.items()}
    )
    first, *others = SIZES
    yield Row(name=f"memory, {first}", unit="MiB", ours=peaks[first])
    for name in others:
        yield Row(
            name=f"memory, {name}",
            unit="MiB",
            ours=peaks[name],
            rival_name=f"itself at {first}",
            rival=peaks[first],
        )


def _peak(lab: Lab, path: str) -> float:
    with lab.service(WORKER_THREADS="1") as service:
        task_id = service.submit(lab.nginx.http + path)
        # Asked seldom: every thread that answers has memory of its own, which is not the file's.
        while (answer := service.check(task_id)).status_code == HTTPStatus.ACCEPTED:
            time.sleep(POLL_SECONDS)
        assert answer.json()["size"] == int(path[1:])
        return service.peak_memory() / 2**20
