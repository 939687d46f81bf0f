"""Measures families of rows: `python -m bench [family ...]`.

Without a name, all families except the slow ones; with `full`, all. Both write results.json and
results.svg.
"""

import argparse
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from bench import (
    backlog,
    batch,
    beside,
    big,
    export,
    hosts,
    idle,
    latency,
    many,
    memory,
    scale,
    slow,
    small,
    start,
    submits,
    sweepers,
    waiting,
)
from bench.chart import as_svg
from bench.environment import describe
from bench.lab import Lab
from bench.report import as_json, as_table
from bench.rows import Row
from devtools.servers.process import MissingProgramError

FOLDER = Path(__file__).parent
DESCRIPTORS = 2**16
Measure = Callable[[Lab], Iterator[Row]]
FAMILIES: dict[str, Measure] = {
    "start": start.measure,
    "latency": latency.measure,
    "submits": submits.measure,
    "small": small.measure,
    "batch": batch.measure,
    "scale": scale.measure,
    "hosts": hosts.measure,
    "beside": beside.measure,
    "export": export.measure,
    "waiting": waiting.measure,
    "slow": slow.measure,
    "idle": idle.measure,
    "sweepers": sweepers.measure,
    "backlog": backlog.measure,
    "big": big.measure,
    "many": many.measure,
    "memory": memory.measure,
}
SLOW_FAMILIES: dict[str, Measure] = {
    "million": backlog.measure_full_collection,
    "million-members": scale.measure_million,
    "million-results": export.measure_million,
}


def main() -> None:
    """Measure and show what was asked for; write it, if that was everything."""
    chosen = _read_arguments()
    is_whole = not chosen or "full" in chosen
    families = {
        name: measure
        for name, measure in {**FAMILIES, **SLOW_FAMILIES}.items()
        if name in chosen or "full" in chosen or (not chosen and name in FAMILIES)
    }
    _raise_descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    try:
        with Lab() as lab:
            where = describe(lab)
            rows = list(_measure(lab, families))
    except MissingProgramError as error:
        sys.exit(str(error))
    print(as_table(rows), *map(": ".join, where.items()), sep="\n")
    if is_whole:
        (FOLDER / "results.json").write_text(as_json(rows, where))
        (FOLDER / "results.svg").write_text(as_svg(rows))


def _raise_descriptor_limit() -> None:
    """Ten thousand connections need as many descriptors here, and twice as many in the service."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(ValueError, OSError):  # only root may
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def _read_arguments() -> set[str]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [*FAMILIES, *SLOW_FAMILIES, "full"]
    parser.add_argument("families", nargs="*", metavar="family", help=", ".join(names))
    chosen = set(parser.parse_args().families)
    if unknown := chosen - set(names):
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return chosen


def _measure(lab: Lab, families: dict[str, Measure]) -> Iterator[Row]:
    for name, measure in families.items():
        began = time.monotonic()
        rows = list(measure(lab))
        print(
            f"{name}: {time.monotonic() - began:.0f} s", as_table(rows), sep="\n", file=sys.stderr
        )
        yield from rows


if __name__ == "__main__":
    main()
