"""What the benchmark makes of its rows and of the answers to its load; nothing is measured here."""

import asyncio
import json
import time
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest

from bench import load
from bench.chart import as_svg
from bench.report import as_json, as_table
from bench.rows import Row, alternate, percentile
from devtools.waiting import wait_for

FASTER = Row(
    name="speed <1>",
    unit="MB/s",
    ours=[300, 100, 200],
    rival_name="curl & md5sum",
    rival=[100],
    is_more_better=True,
)
SLOWER = Row(name="time", unit="seconds", ours=[3], rival_name="bare", rival=[1.5])
ALONE = Row(name="memory", unit="MiB", ours=[50.25])
ROWS = [FASTER, SLOWER, ALONE]


def test_a_ratio_says_how_many_times_as_good_we_are() -> None:
    assert [row.ratio for row in ROWS] == [2, 0.5, None]


def test_the_contestants_take_turns() -> None:
    turns: list[str] = []

    def run(name: str) -> int:
        turns.append(name)
        return len(turns)

    assert alternate(2, a=lambda: run("a"), b=lambda: run("b")) == {"a": [1, 3], "b": [2, 4]}
    assert turns == ["a", "b", "a", "b"]


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


def test_percentiles_of_few_values() -> None:
    assert percentile([3, 1, 2], 99) == 3
    assert percentile([3, 1, 2], 50) == 2


def test_table_shows_each_row_beside_its_rival() -> None:
    headings, *lines = as_table(ROWS).splitlines()
    assert headings.split() == ["ours", "rival", "unit", "ratio", "rival", "is"]
    assert [line.split() for line in lines] == [
        ["speed", "<1>", "200", "100", "MB/s", "2.00", "curl", "&", "md5sum"],
        ["time", "3.00", "1.50", "seconds", "0.50", "bare"],
        ["memory", "50.2", "MiB"],
    ]
    units = ("MB/s", "seconds", "MiB")
    assert len({line.index(unit) for line, unit in zip(lines, units, strict=True)}) == 1


def test_the_json_has_every_run() -> None:
    report = json.loads(as_json(ROWS, {"python": "3"}))
    assert report["environment"] == {"python": "3"}
    assert report["rows"][0] == {
        "name": "speed <1>",
        "unit": "MB/s",
        "ours": 200,
        "rival": 100,
        "rival_name": "curl & md5sum",
        "ratio": 2,
        "is_more_better": True,
        "our_runs": [300, 100, 200],
        "rival_runs": [100],
    }
    assert report["rows"][2]["ratio"] is None


def test_the_chart_has_a_bar_for_each_row_with_a_rival() -> None:
    image = ET.fromstring(as_svg(ROWS))
    namespace = "{http://www.w3.org/2000/svg}"
    bars = [
        (bar.get("class"), float(bar.get("width", 0))) for bar in image.iter(f"{namespace}rect")
    ]
    (better, wide), (worse, narrow) = bars
    assert (better, worse) == ("better", "worse")
    assert wide == pytest.approx(4 * narrow, rel=0.02)
    words = " ".join("".join(text.itertext()) for text in image.iter(f"{namespace}text"))
    assert "speed <1>" in words
    assert "curl & md5sum" in words
    assert "memory" not in words


def test_a_draw_is_neither_better_nor_worse() -> None:
    draw = Row(name="draw", unit="s", ours=[1.01], rival_name="bare", rival=[1])
    assert 'class="even"' in as_svg([draw])


def test_a_chart_of_nothing() -> None:
    assert "<rect" not in as_svg([ALONE])


def stall(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end)


def test_a_stall_counts_for_each_request_that_it_holds_up() -> None:
    stall_seconds = 0.3

    async def generate() -> load.Load:
        begin = time.monotonic()
        has_stalled = False

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal has_stalled
            with suppress(asyncio.IncompleteReadError):
                while await reader.readuntil(b"\r\n\r\n"):
                    if not has_stalled and time.monotonic() - begin > 2 * load.WARM_UP_SECONDS:
                        has_stalled = True
                        stall(stall_seconds)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            request = load.Request(f"http://127.0.0.1:{port}", ["/"], "", 1, 1.0, 0.005)
            return await load.generate(request)

    # Otherwise a single answer of more than a hundred would be late, which is not the p99.
    assert asyncio.run(generate()).p99 > 1000 * stall_seconds / 2
