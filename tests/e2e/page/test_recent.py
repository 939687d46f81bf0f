"""The list of recent tasks, and the link to one."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from devtools.servers.system import Service
from tests.e2e.page.actions import BODY, ID, MD5, Serve, card, news, submit

pytestmark = pytest.mark.services


def test_recent_tasks_survive_a_reload(page: Page, serve: Serve) -> None:
    origin = serve({"/a": BODY})
    origin.may_finish.clear()
    running, failed = f"{origin.base}/a", f"{origin.base}/b"
    origin.may_finish.set()
    submit(page, failed)
    expect(card(page, failed)).to_contain_text("404")
    origin.may_finish.clear()
    submit(page, running, md5="0" * 32)
    expect(card(page, running)).to_contain_text("640 kB")

    page.reload()

    headings = page.get_by_role("listitem").get_by_role("heading")
    expect(headings).to_have_text([running, failed])
    expect(card(page, failed)).to_contain_text("404")
    expect(card(page, running)).to_contain_text("640 kB of")
    expect(news(page)).to_be_empty()
    origin.may_finish.set()
    expect(card(page, running)).to_contain_text(MD5)
    checks: list[str] = []
    page.on("request", lambda request: checks.append(request.url))
    page.reload()
    expect(card(page, running).locator(".verdict")).to_contain_text("0" * 32)
    assert not [url for url in checks if "/check" in url]  # what has ended is known
    page.get_by_role("button", name="Remove a from").click()
    page.reload()
    expect(headings).to_have_text([failed])


@pytest.mark.parametrize("kept", ["{", "7", "[null, {}]", '[{"id": 1, "url": "http://a/"}]'])
def test_a_damaged_list_is_no_obstacle(page: Page, serve: Serve, kept: str) -> None:
    page.evaluate("kept => localStorage.setItem('md5-light.tasks', kept)", kept)
    page.reload()
    url = f"{serve({'/file': BODY}).base}/file"
    submit(page, url)
    expect(card(page, url)).to_contain_text(MD5)


def test_page_works_without_local_storage(context: BrowserContext, serve: Serve) -> None:
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }})"
    )
    page = context.new_page()
    page.goto("/")
    url = f"{serve({'/file': BODY}).base}/file"
    submit(page, url)
    expect(card(page, url)).to_contain_text(MD5)


def test_several_at_once_in_two_tabs(context: BrowserContext, page: Page, serve: Serve) -> None:
    origin = serve({f"/{name}": BODY for name in "abc"})
    origin.may_finish.clear()
    other = context.new_page()
    other.goto("/")
    for name in "ab":
        submit(page, f"{origin.base}/{name}")
        expect(card(page, f"{origin.base}/{name}")).to_be_visible()
    submit(other, f"{origin.base}/c")
    for tab in (page, other):
        expect(tab.get_by_role("progressbar")).to_have_count(3)
    origin.may_finish.set()
    for tab in (page, other):
        expect(tab.get_by_text(MD5, exact=True)).to_have_count(3)
    page.get_by_role("button", name="Remove a from").click()
    expect(other.get_by_role("listitem")).to_have_count(2)


def test_a_link_to_a_task(context: BrowserContext, service: Service, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    task_id = service.submit(url)
    page = context.new_page()
    page.goto(f"/?id={task_id}")
    expect(card(page, url)).to_contain_text(MD5)
    expect(card(page, url).get_by_role("heading")).to_be_focused()
    link = card(page, url).get_by_role("link", name="Link to this task")
    assert link.evaluate("link => link.href") == f"{service.base}/?id={task_id}"
    page.goto("/")
    expect(card(page, url)).to_contain_text(MD5)


@pytest.mark.parametrize("task_id", [ID, "no-id", "%3Cimg%20src=x%20onerror=alert(1)%3E"])
def test_a_link_to_no_task(context: BrowserContext, task_id: str) -> None:
    page = context.new_page()
    page.goto(f"/?id={task_id}")
    expect(page.get_by_role("listitem")).to_contain_text("No such task.")
    expect(news(page)).to_contain_text("No such task.")
    expect(page.locator("#tasks img")).to_have_count(0)
    page.goto("/")
    expect(page.get_by_role("listitem")).to_have_count(0)


def test_a_link_stays_when_another_tab_changes_the_list(
    context: BrowserContext, page: Page, serve: Serve
) -> None:
    page.route("**/check?*", lambda route: route.fulfill(status=503, json={"error": {}}))
    page.goto(f"/?id={ID}")
    expect(page.get_by_role("listitem")).to_contain_text("The service is unreachable")
    other = context.new_page()
    other.goto("/")
    submit(other, f"{serve({'/file': BODY}).base}/file")
    expect(page.get_by_role("listitem")).to_have_count(2)
    expect(page.locator("#tasks")).to_contain_text(ID)
    other.get_by_role("button", name="Remove file").click()
    expect(page.get_by_role("listitem")).to_have_count(1)
    expect(page.locator("#tasks")).to_contain_text(ID)
