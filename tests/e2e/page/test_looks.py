"""The page on narrow and dark screens, and with text that is not harmless."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from devtools.servers.process import PROJECT
from tests.e2e.page.actions import BODY, ID, MD5, Serve, card, submit

pytestmark = pytest.mark.services


@pytest.mark.parametrize("width", [320, 600])
def test_a_narrow_screen_needs_no_sideways_scroll(page: Page, serve: Serve, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    origin = serve({"/file": BODY})
    long = f"{origin.base}/{'missing' * 60}"
    submit(page, long)
    expect(card(page, long)).to_contain_text("404")
    submit(page, f"{origin.base}/file", md5="0" * 32)
    expect(card(page, f"{origin.base}/file")).to_contain_text(MD5)
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [320, 360])
def test_the_documentation_needs_no_sideways_scroll(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    page.goto("docs")
    expect(page.get_by_role("heading", name="POST /submit")).to_be_visible()
    expect(page.get_by_text("blocked_address")).to_be_visible()
    too_wide = "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > innerWidth).length"
    assert page.evaluate(too_wide) == 0
    scrolling = "[...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{scrolling}.length") == 0


def test_the_page_needs_no_young_api(page: Page) -> None:
    young = "[URL.canParse, [].at, [].toReversed, Object.hasOwn, AbortSignal.timeout]"
    assert page.evaluate(f"{young}.every(each => each === undefined)")


def test_a_style_that_old_browsers_do_not_know_has_a_fallback() -> None:
    for path in (PROJECT / "service").glob("*/*.css"):
        text = path.read_text(encoding="utf-8")
        # Safari knows these by their old names only, and the others skip what they do not know.
        for name in ("appearance", "user-select"):
            assert len(re.findall(rf"\b(?<!-){name}:", text)) == text.count(f"-webkit-{name}:")
        for young in re.findall(r'content: "(.) " / ""', text):
            assert f'content: "{young} ";' in text


def test_page_follows_the_colour_scheme(page: Page) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert light > 600
    assert dark < 150


def test_a_url_with_html_in_it_is_text(page: Page, serve: Serve) -> None:
    path = "/<img/src=x/onerror=alert(1)>"
    url = serve({path: BODY}).base + path
    submit(page, url)
    expect(card(page, url)).to_contain_text(MD5)
    expect(page.locator("#tasks img")).to_have_count(0)
    link = card(page, url).get_by_role("link", name=url, exact=True)
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")


def test_only_web_addresses_become_links(page: Page) -> None:
    end = {"status": 424, "body": {"error": {"message": "No."}, "finished_at": "2026-01-01"}}
    kept = [{"id": ID, "url": "javascript:alert(1)", "end": end}]
    page.evaluate("kept => localStorage.setItem('md5-light.tasks', kept)", json.dumps(kept))
    page.reload()
    heading = page.get_by_role("heading", name="javascript:alert(1)")
    expect(heading).to_be_visible()
    expect(heading.get_by_role("link")).to_have_count(0)
