"""The client that submits lists, and the checks of its batches."""

import csv
import hashlib
import io
import random
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import requests

from tests.chaos.origin import KINDS, FickleOrigin, body_of
from tests.chaos.scene import Scene
from tests.e2e.batches import Counts

PAUSE_SECONDS = 5.0  # at most, between two lists
MOST_LINES = 40
REPLY_SECONDS = 30.0


@dataclass
class BatchLedger:
    """The accepted batches, and the problems found with them."""

    urls: dict[str, list[str]] = field(default_factory=dict)  # of each accepted batch by its id
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

    def close(self, scene: Scene) -> None:
        """Compare the export of each batch with its list."""
        for batch_id, urls in self.urls.items():
            self.look(scene, batch_id)
            answer = _get(scene, "/export", id=batch_id)
            if answer.status_code != HTTPStatus.OK:
                self.problems.append(f"batch {batch_id} is stuck: {answer.text}")
                continue
            rows = list(csv.DictReader(io.StringIO(answer.text)))
            if [row["url"] for row in rows] != urls:
                self.problems.append(f"the export of batch {batch_id} is not in order")
            self.problems += _problems_of(batch_id, rows)


def submit_lists(
    scene: Scene,
    origin: FickleOrigin,
    ledger: BatchLedger,
    chance: random.Random,
    stopped: threading.Event,
) -> None:
    """Submit lists, each again and again with its key until it is accepted."""
    number = 0
    while not stopped.wait(chance.uniform(0, PAUSE_SECONDS)):
        number += 1
        urls = [
            f"{origin.base}/{chance.choice(KINDS)}/{number}-{line}"
            for line in range(chance.randint(1, MOST_LINES))
        ]
        body = {"urls": urls, "email": f"batch{number}@example.com"}
        key = {"Idempotency-Key": f'"{uuid.UUID(int=chance.getrandbits(128))}"'}
        while (batch_id := _try_to_submit(scene, body, key, ledger)) is None:
            ledger.repeats += 1
            if stopped.wait(chance.uniform(0, 1)):
                return
        ledger.urls[batch_id] = urls
        ledger.look(scene, chance.choice(list(ledger.urls)))


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


def _problems_of(batch_id: str, rows: Sequence[dict[str, str]]) -> Iterator[str]:
    for row in rows:
        path = "/" + row["url"].split("/", 3)[3]
        if path.startswith("/missing/"):
            if row["error"] != "http_status 404":
                yield f"{batch_id} ({path}) is {row['status']}: {row['error']}"
        elif row["md5"] != hashlib.md5(body_of(path)).hexdigest():
            yield f"{batch_id} ({path}) is {row['status']}: {row['error']} {row['md5']}"
