"""Builds the mail about a batch's end: the counts, some failures, and the digests as a file."""

from collections.abc import Iterable
from email.message import EmailMessage

from settings import Settings
from tasks.batch import Batch
from tasks.checksums import FORMATS, error_of, sum_line
from tasks.digests import Algorithm
from tasks.step import Status
from tasks.task import Task

MAX_FAILURES = 20  # shown
MAX_ATTACHED = 2**20  # bytes
MAX_URL = 200  # characters of a failed one
REASON = (
    "Someone asked for the MD5 of these files and gave your address. If it was not you, ignore"
    " this message."
)


def batch_subject(batch: Batch) -> str:
    """Return what a batch came to, in one line."""
    files = "1 file" if batch.total == 1 else f"{batch.total:,} files"
    return f"MD5 of {files}: {batch.tally.done:,} done, {batch.tally.failed:,} failed"


def fill_message(
    message: EmailMessage, task: Task, batch: Batch, members: Iterable[Task], settings: Settings
) -> None:
    """Set the text of a message, and attach the digests unless they are too many."""
    failures: list[str] = []
    sums: list[bytes] | None = []
    size = 0
    for member in members:
        if member.status is Status.FAILED and len(failures) < MAX_FAILURES:
            failures.append(f"  {error_of(member)}  {_shortened(member.url)}")
        if sums is not None:
            line = sum_line(member, Algorithm.MD5, is_named_by_url=False)
            sums.append(line.encode(errors="surrogateescape"))
            size += len(sums[-1])
            sums = sums if size <= MAX_ATTACHED else None
    lines = _counts(task, batch)
    if failures:
        lines += ["", "Failed:" if batch.tally.failed <= MAX_FAILURES else "Failed, for example:"]
        lines += failures
    if settings.public_url is not None:
        export = f"{settings.public_url.rstrip('/')}/export?id={task.id}&format="
        lines += ["", "Results:", *(f"  {export}{name}" for name in FORMATS)]
    message.set_content("\n".join([*lines, "", REASON]) + "\n")
    if sums is not None:
        message.add_attachment(
            b"".join(sums),
            maintype="text",
            subtype="plain",
            filename=f"{task.id}.md5sum.txt",
            params={"charset": "utf-8"},
        )
        message.set_boundary(f"=_{task.id}")  # or each try would have another one


def _counts(task: Task, batch: Batch) -> list[str]:
    lines = [
        f"Done:       {batch.tally.done:,}",
        f"Failed:     {batch.tally.failed:,}",
        f"Size:       {batch.tally.bytes_done:,} bytes",
    ]
    if batch.is_expecting:
        lines.append(f"Mismatched: {batch.tally.mismatched:,}")
    return [*lines, f"Batch:      {task.id}"]


def _shortened(url: str) -> str:
    text = url.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MAX_URL else f"{text[:MAX_URL]}..."
