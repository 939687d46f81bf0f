"""Several big files at once: all downloads together against as many curls, and the network."""

from collections.abc import Iterator
from functools import partial

from bench import at_once
from bench.lab import Lab
from bench.rows import Row, alternate

BYTES = 10**9
COUNTS = (1, 4, 8, 16)
RUNS = 1  # of up to 16 GB
CURLS = "as many curl | md5sum"


def measure(lab: Lab) -> Iterator[Row]:
    """Over http and over https; the files are in the page cache."""
    path = lab.nginx.add(BYTES)
    for scheme, url in (("http", lab.nginx.http + path), ("https", lab.nginx.https + path)):
        for count in COUNTS:
            runs = alternate(
                RUNS,
                ours=partial(at_once.run, lab, "download", count, url),
                curl=partial(at_once.run_curls, lab, count, url, BYTES),
                receive=partial(at_once.run, lab, "receive", count, url),
            )
            assert {run.bytes for each in runs.values() for run in each} == {count * BYTES}
            yield from _rows(f"1 GB over {scheme}, {count} at once", runs)


def _rows(name: str, runs: dict[str, list[at_once.Run]]) -> Iterator[Row]:
    speeds = {key: [run.megabytes_per_second for run in each] for key, each in runs.items()}
    for rival, rival_name in (("curl", CURLS), ("receive", "receiving alone")):
        yield Row(
            name=name,
            unit="MB/s",
            ours=speeds["ours"],
            rival_name=rival_name,
            rival=speeds[rival],
            is_more_better=True,
        )
    yield Row(
        name=f"{name}, processor time",
        unit="s/GB",
        ours=[run.cpu_seconds_per_gigabyte for run in runs["ours"]],
        rival_name=CURLS,
        rival=[run.cpu_seconds_per_gigabyte for run in runs["curl"]],
    )
    yield Row(
        name=f"{name}, memory",
        unit="MiB",
        ours=[run.peak_memory / 2**20 for run in runs["ours"]],
    )
