"""How long an idle system takes from a submit to the answer that has the digest."""

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

from bench.lab import Lab
from bench.rows import Row, percentile

TASKS = 100
RUNS = 3
PATIENCE_SECONDS = 60


def measure(lab: Lab) -> Iterator[Row]:
    """1 KiB: embedded, then over RabbitMQ and MongoDB with one worker process."""
    url = lab.nginx.http + lab.nginx.add(1024)
    with lab.service() as service:
        yield from _rows("embedded", service.base, url)
    with (
        lab.tasks() as (_, settings),
        lab.program("-m", "dramatiq", "actors", "-p", "1", "-t", "8", settings=settings),
        lab.service(**settings) as service,
    ):
        yield from _rows("distributed", service.base, url)


def _rows(deployment: str, base: str, url: str) -> Iterator[Row]:
    connection = HTTPConnection(urlsplit(base).netloc, timeout=PATIENCE_SECONDS)
    submit_and_poll(connection, url)  # opens connections and imports modules
    runs = [[submit_and_poll(connection, url) for _ in range(TASKS)] for _ in range(RUNS)]
    for name, percent in (("median", 50), ("p99", 99)):
        yield Row(
            name=f"1 KiB, submit to done, idle, {deployment}, {name}",
            unit="ms",
            ours=[percentile(run, percent) for run in runs],
        )


def submit_and_poll(connection: HTTPConnection, url: str, email: str | None = None) -> float:
    """Return the milliseconds until the task is done and, if it has an email, the mail is sent."""
    began = time.perf_counter()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = {"url": url} if email is None else {"url": url, "email": email}
    answer = _ask(connection, "POST", "/submit", urlencode(form), headers)
    path = f"/check?id={answer['id']}"
    while (answer := _ask(connection, "GET", path)).get("status") == "running" or (
        email and answer.get("mail_status") != "sent"
    ):
        assert time.perf_counter() - began < PATIENCE_SECONDS
    assert answer["status"] == "done", answer
    return 1000 * (time.perf_counter() - began)


def _ask(connection: HTTPConnection, *request: object) -> dict[str, str]:
    connection.request(*request)  # type: ignore[arg-type]
    answer: dict[str, str] = json.loads(connection.getresponse().read())
    return answer
