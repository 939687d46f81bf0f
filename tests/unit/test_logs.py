import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from devtools.servers.process import PROJECT
from telemetry import logs
from telemetry.logs import MAX_CHARS, JSONFormatter, TextFormatter

MAKE: list[Callable[[], logging.Formatter]] = [TextFormatter, JSONFormatter]


def make_record(
    message: str, *arguments: object, error: Exception | None = None
) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("a.b", logging.INFO, "", 1, message, arguments, info)


def test_text_line_ends_with_the_task() -> None:
    line = TextFormatter().format(make_record("done, %d bytes", 3))
    assert line.endswith(" INFO a.b: done, 3 bytes")
    with logs.task_context("123"):
        line = TextFormatter().format(make_record("done"))
    assert line.endswith(" INFO a.b: done task=123")


def test_json_line_is_one_object() -> None:
    with logs.task_context("123"):
        line = json.loads(JSONFormatter().format(make_record('a "quoted"\n%s', "message")))
    assert line.pop("time").endswith("Z")
    assert line.pop("pid")
    assert line == {
        "level": "INFO",
        "logger": "a.b",
        "message": 'a "quoted"\nmessage',
        "task_id": "123",
    }


def test_a_trace_is_in_its_line_of_json() -> None:
    text = JSONFormatter().format(make_record("failed", error=RuntimeError("deep\ninside")))
    assert "\n" not in text
    assert "RuntimeError: deep\ninside" in json.loads(text)["exception"]


def test_a_warning_of_python_is_a_line_of_json() -> None:
    code = (
        "import warnings; from telemetry import logs;"
        " logs.set_up('json'); warnings.warn('outdated')"
    )
    command = [sys.executable, "-W", "default", "-c", code]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
    (line,) = run.stderr.splitlines()
    assert "UserWarning: outdated" in json.loads(line)["message"]


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("got https://host/a?token=s3cret.", "https://host/a?"),
        ("got 'HTTP://host?s3cret' twice", "' twice"),
        ("Max retries exceeded with url: /a?s3cret=1 (Caused by x)", "(Caused by x)"),
        ("amqp://me:s3cret@rabbit:5672/%2F is gone", "rabbit:5672/%2F is gone"),
        ("mongodb://me:s3cret@a,b/x?authSource=s3cret", "a,b/x?"),
    ],
)
def test_queries_and_passwords_are_cut(
    make: Callable[[], logging.Formatter], message: str, kept: str
) -> None:
    text = make().format(make_record("%s", message, error=RuntimeError(message)))
    assert "s3cret" not in text
    assert text.count(kept) == 2


@pytest.mark.parametrize("make", MAKE)
def test_long_texts_lose_their_middle(make: Callable[[], logging.Formatter]) -> None:
    text = make().format(make_record("begin %s end", "x" * 100_000))
    assert "begin xxx" in text
    assert "xxx end" in text
    assert "characters left out" in text
    assert len(text) < MAX_CHARS + 300


@pytest.mark.parametrize("make", MAKE)
def test_deep_traces_keep_their_innermost_frames_and_the_cause(
    make: Callable[[], logging.Formatter],
) -> None:
    def fall(depth: int, hook: Callable[[int], None]) -> None:
        if not depth:
            raise RuntimeError("the cause")
        hook(depth - 1)

    def first(depth: int) -> None:
        fall(depth, second)

    def second(depth: int) -> None:
        fall(depth, first)

    with pytest.raises(RuntimeError) as caught:
        first(300)
    error = caught.value
    record = make_record("failed", error=error)
    record.exc_info = (type(error), error, error.__traceback__)
    text = make().format(record)
    assert "RuntimeError: the cause" in text
    assert len(text) < MAX_CHARS + 300


@pytest.mark.parametrize("alphabet", ["a.", "a://", "a://b?", "url: /", "://", "a@", "http://a:b"])
def test_cleaning_is_linear(alphabet: str) -> None:
    def clean(size: int) -> float:
        text = (alphabet * size)[:size]
        begin = time.process_time()
        TextFormatter().format(make_record("%s", text))
        return time.process_time() - begin

    clean(1024)
    small = min(clean(2**14) for _ in range(5))
    large = min(clean(2**18) for _ in range(3))
    assert large < 16 * 4 * max(small, 1e-4), "16 times the input may not take 64 times as long"


def test_each_thread_has_its_task() -> None:
    lines: list[str] = []

    def write() -> None:
        lines.append(TextFormatter().format(make_record("other")))

    with logs.task_context("123"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        with logs.task_context("456"):
            lines.append(TextFormatter().format(make_record("inner")))
        lines.append(TextFormatter().format(make_record("outer")))
    lines.append(TextFormatter().format(make_record("none")))
    assert [line.partition("a.b: ")[2] for line in lines] == [
        "other",
        "inner task=456",
        "outer task=123",
        "none",
    ]
