"""The page about a task, for browsers without JavaScript. It shows what the API returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import urlsplit

from service.html import frame
from tasks.checksums import FORMATS
from tasks.digests import Algorithm, label_of

Body = Mapping[str, Any]

MAX_FAILURES = 20  # shown of a batch
MAIL = {
    "pending": "The mail is on its way. If its server is unreachable, it is retried for about a"
    " day.",
    "sending": "The mail is on its way.",
    "delayed": "This address or its domain has reached its limit of mails per hour. This one goes"
    " out later.",
    "sent": "The mail has been sent.",
    "refused": "The mail was not sent or could not be delivered.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a page shows, and where it is."""

    task_id: str
    body: Body  # as the API describes the task or batch
    failures: Sequence[Body]  # the first failed tasks of a batch
    pause: int | None  # seconds until the page should be refreshed; None at the end
    is_refreshed: bool  # by itself
    root: str  # the relative URL of the service


def render(shown: Shown) -> str:
    """Return the page of a task or batch."""
    body, query = shown.body, f"?id={shown.task_id}"
    show = _show_batch if "tasks" in body else _SHOWN[body["status"]]
    parts = [*show(body), *_show_failures(body, shown.failures)]
    if shown.pause is None:
        parts.append(_paragraph(MAIL.get(body.get("mail_status", ""), "")))
        parts.append(_exports(f"{shown.root}export{query}"))
    else:
        link = f"{shown.root}check{query}"
        parts.append(_refresh(link, shown.pause, is_refreshed=shown.is_refreshed))
    parts.append(
        f'<p class="facts quiet"><a href="{shown.root or "."}{query}">This task on the page with'
        " JavaScript</a></p>\n"
    )
    name = _name(body["url"]) if "url" in body else _files(body["tasks"]["total"])
    heading = _link(body["url"]) if "url" in body else escape(name)
    return frame(
        f"{name}: {body['status']} · MD5 light",
        f'<section class="card task">\n<div class="top"><h2>{heading}</h2></div>\n'
        f"{''.join(parts)}</section>\n",
        root=shown.root,
    )


def _show_running(body: Body) -> Iterator[str]:
    done, total = body.get("bytes_done"), body.get("bytes_total")
    if "retry_at" in body:
        yield _paragraph(f"The next attempt is at {_time(body['retry_at'])}.")
    elif done is None:
        is_begun = "attempt" in body
        yield _paragraph("Asking the server for the file." if is_begun else "Waiting for its turn.")
    elif total is None:
        yield _progress("") + _paragraph(f"{done:,} bytes, size unknown.")
    else:
        yield _progress(f' max="{max(total, 1)}" value="{done}"')
        yield _paragraph(f"{done:,} of {total:,} bytes.")
    if "error" in body:
        yield _paragraph(f"The last one failed: {body['error']['message']}")


def _show_done(body: Body) -> Iterator[str]:
    yield f'<p class="result"><code class="digest">{body["md5"]}</code></p>\n'
    others = [each for each in Algorithm if each is not Algorithm.MD5 and each.value in body]
    if others:
        items = (f"<dt>{each.label}</dt><dd><code>{body[each]}</code></dd>\n" for each in others)
        yield f'<dl class="digests">{"".join(items)}</dl>\n'
    if "verified" in body:
        kind = "good" if body["verified"] else "bad"
        names = ", ".join(map(label_of, body.get("mismatches", ())))
        text = f"not what was expected: {names}" if names else "what was expected"
        yield f'<p class="verdict {kind}">It is {escape(text)}.</p>\n'
    yield _paragraph(f"{body['size']:,} bytes · {_time(body['finished_at'])}", "quiet")
    if body["final_url"] != body["url"]:
        yield _paragraph(f"Redirected to {body['final_url']}")
    if not body["length_verified"]:
        yield _paragraph(
            "The server did not state the length of the file, so truncation could not be detected."
        )
    yield from _show_declared(body)


def _show_declared(body: Body) -> Iterator[str]:
    for each in Algorithm:
        if declared := body.get(f"origin_{each.value}"):
            is_same = declared == body[each.value]
            what = f"the same {each.label}" if is_same else f"another {each.label}, {declared}"
            yield _paragraph(f"The server of the file declares {what}.")


def _show_failed(body: Body) -> Iterator[str]:
    yield _paragraph(f"Failed: {body['error']['message']}", "failure bad")
    yield _paragraph(_time(body["finished_at"]), "quiet")


def _show_batch(body: Body) -> Iterator[str]:
    tasks = body["tasks"]
    counts = [f"{tasks['done']:,} of {tasks['total']:,} done"]
    counts += [f"{tasks['failed']:,} failed"] if tasks["failed"] else []
    counts += [f"{body['mismatched']:,} not as expected"] if body.get("mismatched") else []
    if body["status"] == "running":
        yield _progress(f' max="{tasks["total"]}" value="{tasks["total"] - tasks["running"]}"')
    yield _paragraph(f"{', '.join(counts)}.", "counts")
    if "finished_at" in body:
        yield _paragraph(f"{body['bytes_done']:,} bytes · {_time(body['finished_at'])}", "quiet")


def _show_failures(body: Body, failures: Sequence[Body]) -> Iterator[str]:
    if failures:
        items = [f"{_link(each['url'])}: {escape(each['error']['message'])}" for each in failures]
        more: int = body["tasks"]["failed"] - len(failures)
        items += [f"and {more:,} more, see the results"] if more > 0 else []
        yield (
            '<ul class="failures bad">\n'
            + "".join(f"<li>{each}</li>\n" for each in items)
            + "</ul>\n"
        )


def _refresh(link: str, pause: int, *, is_refreshed: bool) -> str:
    if not is_refreshed:
        return f'<p class="notes"><a href="{link}">Refresh</a></p>\n'
    return (
        f'<p class="notes">This page refreshes itself in {pause} s.'
        f' <a href="{link}&amp;refresh=no">Stop refreshing</a></p>\n'
    )


def _exports(link: str) -> str:
    links = (f'<a href="{link}&amp;format={each}">{each}</a>' for each in FORMATS)
    return f'<p class="exports">Results: {" · ".join(links)}</p>\n'


_SHOWN = {"running": _show_running, "done": _show_done, "failed": _show_failed}


def _paragraph(text: str, kind: str = "notes") -> str:
    return f'<p class="{kind}">{escape(text)}</p>\n' if text else ""


def _progress(attributes: str) -> str:
    return f'<progress{attributes} aria-label="Progress"></progress>\n'


def _link(url: str) -> str:
    shown = escape(url)
    return f'<a href="{shown}" rel="noopener noreferrer nofollow">{shown}</a>'


def _name(url: str) -> str:
    """Return a short name for a file: the last part of its path, or its host."""
    parts = urlsplit(url)
    return parts.path.rstrip("/").rpartition("/")[2] or parts.netloc


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def _time(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S} UTC"
