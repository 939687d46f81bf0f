"""The page in a browser that runs no scripts."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.page.actions import BODY, MD5, Serve, submit

pytestmark = pytest.mark.services


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    context = browser.new_context(base_url=service.base, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def test_from_the_form_to_the_digest(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    url = f"{origin.base}/file"
    submit(page, url, md5=MD5)

    expect(page.get_by_role("heading", name=url)).to_be_visible()
    expect(page.get_by_text("640,000 of 1,280,000 bytes.")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_js_property("position", 0.5)
    origin.may_finish.set()
    expect(page.get_by_text(MD5)).to_be_visible()  # the page has refreshed itself
    expect(page.get_by_text("It is what was expected.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="md5sum").click()
    assert MD5 in download.value.path().read_text()
    page.get_by_role("link", name="MD5 light").click()
    expect(page.get_by_label("URL of the file")).to_be_visible()


def test_refreshing_can_be_stopped(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    submit(page, f"{origin.base}/file")
    stop = page.get_by_role("link", name="Stop refreshing")
    refresh = page.get_by_role("link", name="Refresh", exact=True)

    def is_stopped() -> bool:
        if stop.is_visible():
            stop.click()  # unless the page refreshes itself just then
        return refresh.is_visible()

    wait_for(is_stopped)
    origin.may_finish.set()
    refresh.click()
    expect(page.get_by_text(MD5)).to_be_visible()


def test_a_list_needs_no_url(page: Page, serve: Serve) -> None:
    origin = serve({"/one": BODY})
    page.get_by_text("Submit a list").click()
    expect(page.get_by_label("Read them from a file")).to_be_hidden()
    page.get_by_label("URLs, one per line").fill(f"{origin.base}/one\n{origin.base}/missing")
    page.get_by_role("button", name="Compute MD5").click()
    expect(page.get_by_text("1 of 2 done, 1 failed.")).to_be_visible()
    expect(page.get_by_role("listitem")).to_contain_text("The server answered 404")


def test_every_invalid_field_is_named_and_can_be_corrected(page: Page) -> None:
    submit(page, "ftp://a.b/", email="nobody", md5="1")
    rules = ["url must begin with", "email is not", "md5 must be 32 hexadecimal digits."]
    expect(page.get_by_role("listitem")).to_have_text([re.compile(f"^{rule}") for rule in rules])
    page.go_back()
    expect(page.get_by_label("URL of the file")).to_have_value("ftp://a.b/")
    expect(page.get_by_label("Expected MD5")).to_have_value("1")
