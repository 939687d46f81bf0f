"""Builds the mail about a task's end."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from settings import Settings
from tasks.task import Status, Task

MAX_LINE = 998  # RFC 5322 § 2.1.1: up to there a link stays in one piece


def build_message(task: Task, settings: Settings) -> EmailMessage:
    """The mail for the owner of a task that has ended: plain text, the same at every try."""
    assert task.email is not None
    assert task.finished_at is not None
    name, sender = parseaddr(settings.mail_from)
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit", max_line_length=MAX_LINE))
    message["From"] = Address(name, addr_spec=sender)
    message["To"] = Address(addr_spec=task.email)
    message["Subject"] = f"MD5 {'computed' if task.status is Status.DONE else 'not computed'}"
    message["Date"] = format_datetime(task.finished_at)
    message["Message-ID"] = f"<{task.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's autoresponder shall answer
    message.set_content("\n".join(_lines(task, settings)) + "\n")
    return message


def _lines(task: Task, settings: Settings) -> list[str]:
    lines = [f"URL:       {task.url}"]
    if task.digest is not None:
        lines += [f"MD5:       {task.digest.md5}", f"Size:      {task.digest.size} bytes"]
    if task.is_verified is not None:
        verdict = "it is the one you expected" if task.is_verified else "NOT the one you expected"
        lines.append(f"Verdict:   {verdict}")
    if task.failure is not None:
        lines.append(f"Failed:    {task.failure.message} ({task.failure.code})")
    lines += [f"Submitted: {_time(task.submitted_at)}", f"Finished:  {_time(task.finished_at)}"]
    if settings.public_url is not None:
        lines.append(f"Details:   {settings.public_url.rstrip('/')}/?id={task.id}")
    return lines


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
