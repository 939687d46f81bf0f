"""The client that submits lists, and the checks of its batches."""

import csv
import hashlib
import io
import json
import random
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import requests

from tests.chaos.origin import KINDS, FickleOrigin, body_of
from tests.chaos.scene import Scene
from tests.e2e.batches import Counts, names_of_host

PAUSE_SECONDS = 5.0  # at most, between two lists
MOST_LINES = 40
LONG_SHARE = 0.1  # of the lists
LONG_LINES = 1200  # three writes of the service
# Of the lines of a long list, by the order of `KINDS`: with more trouble it would take minutes.
LONG_WEIGHTS = (90, 1, 2, 3, 1, 3)
EXPECTING_SHARE = 0.2  # of the lines
WRONG_MD5 = "0" * 32
GIVING_UP_SHARE = 0.3  # of the refusals
REPLY_SECONDS = 30.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of a list. No two lines of a run have the same path."""

    base: str
    path: str
    expected_md5: str | None

    @property
    def url(self) -> str:
        return f"{self.base}{self.path}"

    @property
    def text(self) -> str:
        return f"{self.expected_md5}  {self.url}" if self.expected_md5 else self.url

    def is_right(self, row: Row) -> bool:
        """Return whether a row of an export has the outcome of this line."""
        if self.path.startswith("/missing/"):
            return bool(row["status"] == "failed" and row["error"] == "http_status 404")
        md5 = hashlib.md5(body_of(self.path)).hexdigest()
        verified = self.expected_md5 == md5 if self.expected_md5 else None
        outcome = row["status"], row["md5"], row["verified"]
        return outcome == ("done", md5, verified)


@dataclass
class BatchLedger:
    """The lists that clients have submitted, and the problems found with them."""

    accepted: dict[str, Sequence[Line]] = field(default_factory=dict)  # by the id of the batch
    given_up: list[Sequence[Line]] = field(default_factory=list)  # without an id
    taken_in: int = 0  # lists of which the client has no id, and which are batches nevertheless
    repeats: int = 0  # submissions that were repeated with the same key
    problems: list[str] = field(default_factory=list)
    _counts: dict[str, Counts] = field(default_factory=dict)

    def look(self, scene: Scene, batch_id: str) -> None:
        """Check the counts of a batch, which always add up and never fall."""
        try:
            answer = _get(scene, "/check", id=batch_id)
        except requests.RequestException:
            return
        try:
            self._counts.setdefault(batch_id, Counts()).check(answer)
        except AssertionError as error:
            self.problems.append(f"batch {batch_id}: {error}")

    def close(self, scene: Scene, origin: FickleOrigin, batch_ids: Iterable[str]) -> None:
        """Compare each batch with its list, and each list without an id with the requests.

        `batch_ids` are those of all batches that are stored.
        """
        for batch_id, lines in self.accepted.items():
            self.look(scene, batch_id)
            self.problems += _problems_of(scene, batch_id, lines)
        by_path = {lines[0].path: lines for lines in self.given_up}
        for batch_id in sorted(set(batch_ids) - self.accepted.keys()):
            rows = _export(scene, batch_id)
            lines = by_path.pop(_path_of(rows[0]["url"]), []) if rows else []
            self.taken_in += bool(lines)
            self.problems += _problems_of(scene, batch_id, lines)
        requested = set(origin.requests)
        for lines in by_path.values():
            if count := len(requested.intersection(line.path for line in lines)):
                self.problems.append(f"{count} of {len(lines)} URLs of no batch were requested")


def submit_lists(
    scene: Scene,
    origin: FickleOrigin,
    ledger: BatchLedger,
    chance: random.Random,
    stopped: threading.Event,
) -> None:
    """Submit lists, each again and again with its key until it is accepted or given up."""
    number = 0
    while not stopped.wait(chance.uniform(0, PAUSE_SECONDS)):
        number += 1
        lines = list(_lines(origin, number, chance))
        body = {"urls": [line.text for line in lines], "email": f"batch{number}@example.com"}
        key = {"Idempotency-Key": f'"{uuid.UUID(int=chance.getrandbits(128))}"'}
        batch_id = _try_to_submit(scene, body, key, ledger)
        while batch_id is None and chance.random() > GIVING_UP_SHARE:
            if stopped.wait(chance.uniform(0, 1)):
                break
            ledger.repeats += 1
            batch_id = _try_to_submit(scene, body, key, ledger)
        if batch_id is None:
            ledger.given_up.append(lines)
            continue
        ledger.accepted[batch_id] = lines
        ledger.look(scene, chance.choice(list(ledger.accepted)))


def _lines(origin: FickleOrigin, number: int, chance: random.Random) -> Iterator[Line]:
    """Yield the lines of a list, which is short and of one host, or long and of two."""
    is_long = chance.random() < LONG_SHARE
    count = LONG_LINES if is_long else chance.randint(1, MOST_LINES)
    bases = names_of_host(origin) if is_long else [origin.base]
    kinds = chance.choices(KINDS, LONG_WEIGHTS if is_long else None, k=count)
    for position, kind in enumerate(kinds):
        path, expected = f"/{kind}/{number}-{position}", None
        if chance.random() < EXPECTING_SHARE:
            expected = chance.choice([WRONG_MD5, hashlib.md5(body_of(path)).hexdigest()])
        yield Line(chance.choice(bases), path, expected)


def _try_to_submit(
    scene: Scene, body: Mapping[str, object], key: dict[str, str], ledger: BatchLedger
) -> str | None:
    """Return the id of the batch; None if the service died, was too late, or had no store."""
    url = f"{scene.service.base}/submit"
    try:
        answer = requests.post(url, json=body, headers=key, timeout=REPLY_SECONDS)
    except requests.RequestException:
        return None
    if answer.status_code == HTTPStatus.ACCEPTED:
        return str(answer.json()["id"])
    if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
        ledger.problems.append(f"a list was answered with {answer.status_code}: {answer.text}")
    return None


def _get(scene: Scene, path: str, **parameters: str) -> requests.Response:
    return requests.get(f"{scene.service.base}{path}", parameters, timeout=REPLY_SECONDS)


def _export(scene: Scene, batch_id: str) -> list[Row]:
    """Return the rows of a batch, from one format or the other; none while it is unfinished."""
    is_csv = int(batch_id[0], 16) % 2 == 0
    answer = _get(scene, "/export", id=batch_id, format="csv" if is_csv else "ndjson")
    if answer.status_code != HTTPStatus.OK:
        return []
    if is_csv:
        rows: list[Row] = list(csv.DictReader(io.StringIO(answer.text)))
        flags = {"true": True, "false": False, "": None}
        return [{**row, "verified": flags[row["verified"]]} for row in rows]
    return [_row_of(json.loads(line)) for line in answer.text.splitlines()]


def _row_of(body: Row) -> Row:
    """Return an object of the ndjson in the form of a row of the csv."""
    error = body.get("error")
    return {
        "url": body["url"],
        "status": body["status"],
        "md5": body.get("md5", ""),
        "verified": body.get("verified"),
        "error": f"{error['code']} {error.get('http_status', '')}".strip() if error else "",
    }


def _problems_of(scene: Scene, batch_id: str, lines: Sequence[Line]) -> Iterator[str]:
    """Compare the rows of a batch with its list, and its counts with the rows."""
    rows, checked = _export(scene, batch_id), _get(scene, "/check", id=batch_id)
    if not rows:
        yield f"batch {batch_id} is stuck: {checked.text}"
        return
    if [row["url"] for row in rows] != [line.url for line in lines]:
        yield f"the export of batch {batch_id} is not its list in order"
        return
    for row, line in zip(rows, lines, strict=True):
        if not line.is_right(row):
            yield f"{batch_id} ({line.text}) is {row}"
    body = checked.json()
    counts = {**body["tasks"], "mismatched": body.get("mismatched")}
    if counts != (counted := _count(rows, lines)):
        yield f"the counts of batch {batch_id} are {counts}, but its rows have {counted}"


def _count(rows: Sequence[Row], lines: Sequence[Line]) -> dict[str, int | None]:
    """Return what `/check` is to report about these rows."""
    is_expecting = any(line.expected_md5 for line in lines)
    return {
        "total": len(rows),
        "running": 0,
        "done": sum(row["status"] == "done" for row in rows),
        "failed": sum(row["status"] == "failed" for row in rows),
        "mismatched": sum(row["verified"] is False for row in rows) if is_expecting else None,
    }


def _path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]
