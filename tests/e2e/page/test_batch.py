"""A list of URLs on the page."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.actions import BODY, MD5, Serve, news

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


def test_a_list_is_not_percent_encoded(page: Page) -> None:
    """That could triple its size, and the service refuses large bodies."""
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill("http://example.com/%D1%8F\nnope")
    with page.expect_request("**/submit") as sent:
        page.get_by_role("button", name="Compute MD5").click()
    assert sent.value.headers["content-type"].startswith("multipart/form-data")
    expect(page.locator("#urls-error")).to_contain_text("Line 2: url must begin with http://")
