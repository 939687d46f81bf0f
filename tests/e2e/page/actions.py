"""What a user of the page does, and sees."""

import hashlib
import re
from collections.abc import Callable, Mapping

from playwright.sync_api import Locator, Page, Route

from devtools.servers.origin import Origin

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = bytes(range(256)) * 5000
MD5 = hashlib.md5(BODY).hexdigest()
ID = "0e4fac17-f367-4807-8c28-8a059a2f82ac"


def submit(page: Page, url: str, *, md5: str = "", email: str = "") -> None:
    page.get_by_label("URL of the file").fill(url)
    page.get_by_label("Mail the result to").fill(email)
    page.get_by_label("Expected MD5").fill(md5)
    page.get_by_role("button", name="Compute MD5").click()


def card(page: Page, url: str) -> Locator:
    """The cards of the tasks with a URL, the second of which has a number."""
    escaped = re.escape(url).replace("/", r"\/")  # for JavaScript
    name = re.compile(rf"^{escaped}( \(number \d+\))?$")
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def news(page: Page) -> Locator:
    return page.locator("[aria-live=polite]")


def tab(page: Page, count: int) -> list[str]:
    """Press Tab `count` times, and return the names of the elements, whose focus is visible."""
    names = []
    for _ in range(count):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        names.append(focused.get_attribute("aria-label") or focused.inner_text())
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    return names


def answer(status: int, body: object, **headers: str) -> Callable[[Route], None]:
    def fulfill(route: Route) -> None:
        route.fulfill(status=status, json=body, headers=headers)

    return fulfill
