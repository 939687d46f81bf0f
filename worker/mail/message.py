"""Builds the mail about a task's end."""

import string
from collections.abc import Iterable
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from urllib.parse import quote, urlsplit

from settings import Settings
from tasks.digests import label_of
from tasks.step import Status
from tasks.task import Task
from tasks.url import host_to_ascii
from worker.mail.batch_message import batch_subject, fill_message

MAX_LINE = 998  # RFC 5322 § 2.1.1
# In characters. The recipient may be a stranger, so little of what was submitted is shown.
MAX_PATH = 100
REASON = (
    "Someone asked for the MD5 of this file and gave your address. If it was not you, ignore this"
    " message."
)


def build_message(task: Task, settings: Settings, members: Iterable[Task] = ()) -> EmailMessage:
    """Return the mail for the owner of a task that has ended: plain text, the same at every try.

    `members` are those of a batch, in their order.
    """
    assert task.email is not None
    assert task.finished_at is not None
    name, sender = parseaddr(settings.mail_from)
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit", max_line_length=MAX_LINE))
    message["From"] = Address(name, addr_spec=sender)
    message["To"] = Address(addr_spec=task.email)
    message["Subject"] = _subject(task)
    message["Date"] = format_datetime(task.finished_at)
    message["Message-ID"] = f"<{task.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 § 5: no autoresponder shall answer
    if task.batch is not None:
        fill_message(message, task, task.batch, members, settings)
    else:
        message.set_content("\n".join(_lines(task, settings)) + "\n")
    return message


def _subject(task: Task) -> str:
    if task.batch is not None:
        return batch_subject(task.batch)
    return f"MD5 {'computed' if task.status is Status.DONE else 'not computed'}"


def _lines(task: Task, settings: Settings) -> list[str]:
    parts = urlsplit(task.url)
    lines = [
        f"Host:      {host_to_ascii(parts.hostname or '')}",
        f"Path:      {_shorten(parts.path)}",
    ]
    if task.digest is not None:
        for algorithm, text in task.digest.hexdigests.items():
            lines.append(f"{algorithm.label + ':':<10} {text}")
        lines.append(f"Size:      {task.digest.size} bytes")
        for algorithm, text in task.digest.declared.items():
            is_same = task.digest.hexdigests[algorithm] == text
            declares = (
                f"the same {algorithm.label}" if is_same else f"another {algorithm.label}, {text}"
            )
            lines.append(f"Origin:    declares {declares}")
    if task.is_verified is not None:
        verdict = "it is the one you expected" if task.is_verified else "NOT the one you expected"
        lines.append(f"Verdict:   {verdict}")
    if task.mismatches:
        lines.append(f"Differs:   {', '.join(map(label_of, task.mismatches))}")
    if task.failure is not None:
        lines.append(f"Failed:    {task.failure.message} ({task.failure.code})")
    lines += [f"Submitted: {_time(task.submitted_at)}", f"Finished:  {_time(task.finished_at)}"]
    lines.append(f"Task:      {task.id}")
    if settings.public_url is not None:
        lines.append(f"Details:   {settings.public_url.rstrip('/')}/?id={task.id}")
    return [*lines, "", REASON]


def _shorten(path: str) -> str:
    """Return a URL's path in ASCII, at most MAX_PATH characters of it."""
    text = quote(path or "/", safe=string.punctuation)
    return text if len(text) <= MAX_PATH else f"{text[:MAX_PATH]}..."


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
