"""The formats in which results are exported: one text for each task, and what precedes them."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from service.lines import STS_HEADING
from service.representation import represent
from tasks.checksums import error_of, filename_of, sum_line
from tasks.digests import Algorithm
from tasks.stores.contract import Order
from tasks.task import Task

_CSV_COLUMNS = (
    "url",
    "status",
    *(algorithm.value for algorithm in Algorithm),
    "size",
    "filename",
    "final_url",
    "length_verified",
    "verified",
    "origin_verified",
    "error",
    "finished_at",
)
# A spreadsheet runs cells that begin with one of these as formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # as `surrogateescape` decodes them


@dataclass(frozen=True, slots=True)
class Manifest:
    """A format: its media type, its heading, and the text of a task.

    `line` also gets the last task before it that had a text.
    """

    media_type: str
    extension: str
    heading: str
    order: Order
    line: Callable[[Task, Task | None], str]


def _as_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as RFC 4180 has them. A cell that a spreadsheet would run gets an apostrophe."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(map(_cells, rows))
    return text.getvalue()


def _cells(row: Iterable[object]) -> Iterator[str]:
    for value in row:
        cell = (
            str(value).lower() if isinstance(value, bool) else str("" if value is None else value)
        )
        yield f"'{cell}" if cell.startswith(_FORMULA) else cell


def _name_of(task: Task) -> str:
    """Return the file name as text. Bytes that are not UTF-8 are escaped as in a URL."""
    return _NOT_UTF8.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", filename_of(task.url))


def _csv_line(task: Task, _: Task | None) -> str:
    body = {**represent(task), "filename": _name_of(task), "error": error_of(task)}
    return _as_csv([[body.get(name) for name in _CSV_COLUMNS]])


def _json_line(task: Task, _: Task | None) -> str:
    body = {"id": task.id, **represent(task), "filename": _name_of(task)}
    return f"{json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n"


def _sts_line(task: Task, before: Task | None) -> str:
    """Return a line for Storage Transfer Service, for a complete file and its first mention."""
    digest = task.digest
    is_repeated = before is not None and before.url == task.url
    if digest is None or not digest.is_length_verified or is_repeated:
        return ""
    md5 = base64.b64encode(bytes.fromhex(digest.md5)).decode()
    return f"{task.url}\t{digest.size}\t{md5}\n"


CSV = Manifest(
    "text/csv; charset=utf-8; header=present",
    "csv",
    _as_csv([_CSV_COLUMNS]),
    "position",
    _csv_line,
)
NDJSON = Manifest("application/x-ndjson", "ndjson", "", "position", _json_line)
STS = Manifest("text/tab-separated-values", "tsv", f"{STS_HEADING}\n", "rank", _sts_line)


def sums(algorithm: Algorithm, *, is_named_by_url: bool) -> Manifest:
    """Return the format of md5sum, or of the tool for another algorithm."""

    def line(task: Task, _: Task | None) -> str:
        return sum_line(task, algorithm, is_named_by_url=is_named_by_url)

    return Manifest("text/plain; charset=utf-8", f"{algorithm}sum.txt", "", "position", line)
