"""What assistive technology calls the controls of the page."""

import json
from collections.abc import Mapping, Sequence

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.actions import BODY, MD5, Serve, answer, card, news, submit

pytestmark = pytest.mark.services

MOMENT = "2026-11-23T13:12:42.094Z"


def names(page: Page) -> list[str]:
    """The names of all controls of all cards that are shown, as the browser computes them."""
    shown = page.locator("#tasks").get_by_role
    controls = [
        *shown("link").all(),
        *shown("button").all(),
        *shown("progressbar").all(),
        *shown("heading").all(),
    ]
    found = []
    for control in controls:
        snapshot = control.aria_snapshot().splitlines()[0]
        role, _, rest = snapshot.removeprefix("- ").partition(" ")
        found.append(f"{role} {json.loads(rest[: rest.rindex(chr(34)) + 1])}")
    return found


def keep(page: Page, tasks: Sequence[object]) -> None:
    page.evaluate("kept => localStorage.setItem('md5-light.tasks', kept)", json.dumps(tasks))
    page.reload()


def task(number: int, url: str, body: Mapping[str, object], status: int = 200) -> dict[str, object]:
    task_id = f"00000000-0000-0000-0000-{number:012}"
    end = {"url": url, "finished_at": MOMENT, "status": "done", **body}
    return {"id": task_id, "url": url, "end": {"status": status, "body": end}}


def test_no_two_controls_have_the_same_name(page: Page) -> None:
    """Also of tasks with the same short name, the same URL, and lists of the same length."""
    done = {"md5": MD5, "size": 1, "length_verified": True}
    failed = {"error": {"message": "No."}}
    counts = {"total": 3, "running": 0, "done": 3, "failed": 0}
    batch = {"tasks": counts, "bytes_done": 3, "submitted_at": MOMENT}
    tasks = [
        *(task(n, "http://a.example/file", {**done, "final_url": "x"}) for n in range(3)),
        task(3, "http://b.example/file", {**done, "final_url": "x"}),
        *(task(n, "http://c.example/gone", failed, 424) for n in (4, 5)),
        *({**task(n, "", batch), "total": 3} for n in (6, 7)),
        *({"id": f"00000000-0000-0000-0000-{n:012}", "url": "http://d.example/"} for n in (8, 9)),
        *({"id": f"00000000-0000-0000-0000-{n:012}", "url": ""} for n in (10, 11)),
    ]
    page.route("**/check?*", answer(202, {"status": "running"}))
    keep(page, tasks)
    expect(page.get_by_role("listitem")).to_have_count(12)
    expect(page.get_by_role("progressbar")).to_have_count(4)
    found = names(page)
    assert len(found) > 60
    assert sorted(found) == sorted(set(found))
    for text in ("Copy", "Try again", "Cancel", "Link to this task", "CSV", "Storage Transfer"):
        assert any(name.partition(" ")[2].startswith(text) for name in found), text


def test_a_second_task_of_a_url_has_a_number(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    for _ in range(2):
        submit(page, url)
        expect(card(page, url).first).to_contain_text(MD5)
        expect(page.get_by_label("URL of the file")).to_have_value("")
    expect(card(page, url)).to_have_count(2)
    headings = page.get_by_role("listitem").get_by_role("heading")
    expect(headings).to_have_text([f"{url} (number 2)", url])
    expect(news(page)).to_contain_text(f"file, number 2: the MD5 is {MD5}.")
    page.get_by_role("button", name="Remove file from this list").click()
    expect(headings).to_have_text([f"{url} (number 2)"])  # a name that was heard stays
    submit(page, url)
    expect(headings).to_have_text([f"{url} (number 3)", f"{url} (number 2)"])
