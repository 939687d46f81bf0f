"""A list of URLs on the page."""

import base64
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.page.actions import BODY, ID, MD5, Serve, news, tab

pytestmark = pytest.mark.services


def test_a_list_from_a_file_to_its_results(page: Page, serve: Serve, tmp_path: Path) -> None:
    origin = serve({"/one": BODY, "/two": BODY})
    lines = [f"{origin.base}/{name}" for name in ("one", "missing", "two")]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    page.get_by_text("Submit a list").click()
    page.get_by_label("Read them from a file").set_input_files(tmp_path / "urls.txt")
    expect(page.get_by_label("URLs, one per line")).to_have_value("\n".join(lines))

    page.get_by_role("button", name="Compute MD5").click()

    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="3 files"))
    expect(task).to_contain_text("2 of 3 done, 1 failed.")
    expect(task).to_contain_text(f"{lines[1]}: The server answered 404")
    expect(page.get_by_label("URLs, one per line")).to_have_value("")
    expect(news(page)).to_contain_text("the list of 3 files: 2 of 3 done, 1 failed.")
    in_base64 = base64.b64encode(bytes.fromhex(MD5)).decode()
    for name, digest in (
        ("CSV", MD5),
        ("JSON lines", MD5),
        ("md5sum", MD5),
        ("Storage Transfer Service", in_base64),
    ):
        with page.expect_download() as download:
            task.get_by_role("link", name=name).click()
        assert digest in Path(download.value.path()).read_text()


def test_a_list_is_dropped_on_the_form(page: Page, serve: Serve) -> None:
    origin = serve({"/one": BODY, "/two": BODY})
    text = f"{origin.base}/one\n{origin.base}/two\n"
    data = page.evaluate_handle(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "urls.txt", { type: "text/plain" }));
            return data;
        }""",
        text,
    )
    refused = "event => event.defaultPrevented"
    page.evaluate("addEventListener('dragover', event => { window.dragged = event; })")
    page.dispatch_event("#form", "dragover", {"dataTransfer": data})
    assert page.evaluate(f"({refused})(window.dragged)")
    page.dispatch_event("#form", "drop", {"dataTransfer": data})
    expect(page.get_by_label("URLs, one per line")).to_have_value(text)
    page.get_by_role("button", name="Compute MD5").click()
    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="2 files"))
    expect(task).to_contain_text("2 of 2 done.")


def test_an_invalid_line_is_shown_at_the_list(page: Page) -> None:
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill("http://example.com/\nnope\n")
    page.get_by_role("button", name="Compute MD5").click()
    expect(page.locator("#urls-error")).to_contain_text("Line 2: url must begin with http://")
    expect(page.get_by_label("URLs, one per line")).to_be_focused()


def test_a_link_to_a_batch_shows_its_progress(page: Page, serve: Serve) -> None:
    origin = serve({"/one": BODY})
    origin.may_finish.clear()
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill(f"{origin.base}/one\n{origin.base}/missing")
    page.get_by_role("button", name="Compute MD5").click()
    link = page.get_by_role("link", name="Link to this task").get_attribute("href")
    page.goto(f"/{link}")
    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="2 files"))
    expect(task.get_by_role("progressbar")).to_be_visible()
    origin.may_finish.set()
    expect(task).to_contain_text("1 of 2 done, 1 failed.")


def test_a_batch_survives_a_reload(page: Page, serve: Serve) -> None:
    origin = serve({"/one": BODY})
    origin.may_finish.clear()
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill(f"{origin.base}/one\n{origin.base}/missing")
    page.get_by_label("URLs, one per line").press("Tab")
    page.get_by_role("button", name="Compute MD5").press("Enter")
    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="2 files"))
    expect(task.get_by_role("progressbar")).to_be_visible()

    page.reload()

    expect(task.get_by_role("progressbar")).to_be_visible()
    origin.may_finish.set()
    expect(task).to_contain_text("1 of 2 done, 1 failed.")
    expect(task).to_contain_text(f"{origin.base}/missing: The server answered 404")


def test_list_with_the_keyboard_alone(page: Page, serve: Serve) -> None:
    origin = serve({"/one": BODY})
    keyboard = page.keyboard
    for _ in range(2):
        keyboard.press("Tab")
    keyboard.press("Enter")
    keyboard.press("Tab")
    expect(page.get_by_label("URLs, one per line")).to_be_focused()
    keyboard.insert_text(f"{origin.base}/one\n{origin.base}/missing")
    keyboard.press("Tab")
    expect(page.get_by_label("Read them from a file")).to_be_focused()
    for _ in range(4):
        keyboard.press("Tab")
    expect(page.get_by_role("button", name="Compute MD5")).to_be_focused()
    keyboard.press("Enter")
    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="2 files"))
    expect(task).to_contain_text("missing: The server answered 404")
    names = tab(page, 7)
    formats = ("CSV", "JSON lines", "md5sum", "Storage Transfer Service")
    assert names[-5:-1] == [f"{each}: results of the list of 2 files" for each in formats]


def test_only_the_end_of_a_list_is_announced(page: Page) -> None:
    done = iter([*range(5), 5, 5, 5])

    def fulfill(route: Route) -> None:
        count = next(done)
        tasks = {"total": 5, "running": 5 - count, "done": count, "failed": 0}
        is_over = count == 5
        body: dict[str, Any] = {
            "status": "done" if is_over else "running",
            "tasks": tasks,
            "bytes_done": count,
        }
        if is_over:
            body["finished_at"] = "2026-11-23T13:12:42.094Z"
        headers = {} if is_over else {"Retry-After": "1"}
        route.fulfill(status=200 if is_over else 202, json=body, headers=headers)

    page.clock.install(time=0)
    page.clock.pause_at(60)
    page.route("**/check?*", fulfill)
    page.goto(f"/?id={ID}")
    for count in range(5):
        page.clock.run_for(1)
        expect(page.get_by_role("listitem")).to_contain_text(f"{count} of 5 done")
        page.clock.run_for(1000)
    expect(page.get_by_role("listitem")).to_contain_text("5 of 5 done.")
    expect(news(page).locator("p")).to_have_text([re.compile(r"5 files: 5 of 5 done\.$")])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_list_with_forced_colours(
    page: Page, scheme: Literal["light", "dark"], serve: Serve
) -> None:
    """Invalid fields are marked, and links and failures are readable."""
    page.emulate_media(color_scheme=scheme, forced_colors="active")
    page.get_by_text("Submit a list").click()
    urls = page.get_by_label("URLs, one per line")
    width = "element => parseFloat(getComputedStyle(element).borderTopWidth)"
    valid = urls.evaluate(width)
    urls.fill("nope")
    page.get_by_role("button", name="Compute MD5").click()
    expect(page.locator("#urls-error")).to_be_visible()
    assert urls.evaluate(width) > valid > 0
    origin = serve({"/one": BODY})
    urls.fill(f"{origin.base}/one\n{origin.base}/missing")
    page.get_by_role("button", name="Compute MD5").click()
    task = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="2 files"))
    expect(task).to_contain_text("The server answered 404")
    contrast = "element => getComputedStyle(element).color"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for each in (task.locator(".failures"), task.get_by_role("link", name="CSV"), urls):
        assert each.evaluate(contrast) != ground


def test_a_list_is_not_percent_encoded(page: Page) -> None:
    """That could triple its size, and the service refuses large bodies."""
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill("http://example.com/%D1%8F\nnope")
    with page.expect_request("**/submit") as sent:
        page.get_by_role("button", name="Compute MD5").click()
    assert sent.value.headers["content-type"].startswith("multipart/form-data")
    expect(page.locator("#urls-error")).to_contain_text("Line 2: url must begin with http://")
