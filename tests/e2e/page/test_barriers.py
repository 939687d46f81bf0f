"""Whether axe-core finds barriers in any state of the pages, in each look and on each screen."""

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.page.actions import BODY, ID, MD5, Serve, answer, submit

pytestmark = pytest.mark.services

URL = "http://example.com/a/long/path/to/a/file.iso"
MOMENT = "2026-11-23T13:12:42.094Z"
RUNNING = {"status": "running", "url": URL, "attempt": 1}
ERROR = {"code": "timeout", "message": "The server fell silent."}
DONE = {"status": "done", "url": URL, "final_url": f"{URL}?", "size": 5, "finished_at": MOMENT}
DONE |= {"md5": MD5, "sha256": MD5 * 2, "length_verified": False, "mail_status": "sent"}
FAILED = {"status": "failed", "url": URL, "error": ERROR, "finished_at": MOMENT}
COUNTS = {"total": 1200, "running": 316, "done": 880, "failed": 4}

# The rule that is not run by itself is that of WCAG 2.2 § 2.5.8.
OPTIONS = {"rules": {"target-size": {"enabled": True}}}
LOOKS: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (360, 1280)


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page of a current browser, as axe-core needs it."""
    context = browser.new_context(base_url=service.base)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def assert_no_barrier(page: Page) -> None:
    for look in LOOKS:
        page.emulate_media(color_scheme=look)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            found = Axe().run(page, options=OPTIONS)
            assert found.violations_count == 0, f"{look}, {width} px:\n{found.generate_report()}"
            assert len(found.response["passes"]) > 10
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_form(page: Page) -> None:
    assert_no_barrier(page)


def test_form_with_an_open_list(page: Page) -> None:
    page.get_by_text("Submit a list").click()
    expect(page.get_by_label("URLs, one per line")).to_be_visible()
    assert_no_barrier(page)


def test_invalid_fields(page: Page) -> None:
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill("nope")
    submit(page, "http://example.com/", email="nobody", md5="1")
    expect(page.locator("[aria-invalid]")).to_have_count(4)
    assert_no_barrier(page)


STATES = {
    "running": (202, RUNNING | {"bytes_done": 500_000, "bytes_total": 1_000_000}, "500 kB of"),
    "size unknown": (202, RUNNING | {"bytes_done": 500_000, "bytes_total": None}, "size unknown"),
    "queued": (202, {"status": "running", "url": URL}, "Waiting for its turn"),
    "retry pending": (202, RUNNING | {"retry_at": MOMENT, "error": ERROR}, "Waiting for the next"),
    "done": (200, DONE, MD5),
    "verified": (200, DONE | {"verified": True}, "It is what was expected."),
    "mismatch": (200, DONE | {"verified": False, "mismatches": ["md5"]}, "It is not what was"),
    "failed": (424, FAILED, "Failed: "),
    "unreachable": (503, {}, "The service is unreachable"),
    "unknown": (404, {"status": "not_found"}, "No such task."),
    "batch": (202, {"status": "running", "tasks": COUNTS, "bytes_done": 5}, "880 of 1,200"),
}


@pytest.mark.parametrize("state", STATES)
def test_task(page: Page, state: str) -> None:
    status, body, words = STATES[state]
    page.route("**/check?*", answer(status, body))
    page.goto(f"/?id={ID}")
    expect(page.get_by_role("listitem")).to_contain_text(words.replace(" kB", "\u00a0kB"))
    assert_no_barrier(page)


@pytest.fixture
def batch(service: Service, serve: Serve) -> str:
    """The id of a batch that is done, with failures."""
    base = serve({"/one": BODY}).base
    lines = "\n".join(f"{base}/{name}" for name in ("one", "missing", "gone"))
    task_id = service.submit("", urls=lines)
    service.wait_for_end(task_id)
    return task_id


def test_batch_with_failures(page: Page, batch: str) -> None:
    page.goto(f"/?id={batch}")
    expect(page.get_by_role("listitem").first).to_contain_text("The server answered 404")
    assert_no_barrier(page)


def test_two_tasks_with_the_same_name(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    for number in (1, 2):
        submit(page, f"{origin.base}/file")
        expect(page.get_by_text(MD5, exact=True)).to_have_count(number)
    assert_no_barrier(page)


def test_documentation(page: Page) -> None:
    page.goto("docs")
    expect(page.get_by_role("heading", name="POST /submit")).to_be_visible()
    assert_no_barrier(page)


def show(page: Page, task_id: str, words: str) -> None:
    """Open the result page, and see these words on it."""
    page.goto(f"check?id={task_id}")
    expect(page.get_by_text(words)).to_be_visible()


def test_result_page_of_a_batch(page: Page, batch: str) -> None:
    show(page, batch, "1 of 3 done, 2 failed.")
    assert_no_barrier(page)


RESULTS = {
    "done": ("file", "", MD5),
    "verified": ("file", MD5, "It is what was expected."),
    "mismatch": ("file", "0" * 32, "It is not what was expected"),
    "failed": ("missing", "", "Failed: "),
}


@pytest.mark.parametrize("state", RESULTS)
def test_result_page(page: Page, service: Service, serve: Serve, state: str) -> None:
    name, expected, words = RESULTS[state]
    url = f"{serve({'/file': BODY}).base}/{name}"
    task_id = service.submit(url, md5=expected, digests="sha512")
    service.wait_for_end(task_id)
    show(page, task_id, words)
    assert_no_barrier(page)


def test_result_page_of_a_running_task(page: Page, service: Service, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: "bytes_done" in service.check(task_id).json())
    show(page, f"{task_id}&refresh=no", "640,000 of 1,280,000 bytes.")
    assert_no_barrier(page)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"check?id={ID}", "No task has this id."),
        ("nothing", "Not Found."),
        ("check?x=1&y=2", "is not a parameter"),
    ],
)
def test_refusals(page: Page, path: str, words: str) -> None:
    page.goto(path)
    expect(page.get_by_text(words).first).to_be_visible()
    assert_no_barrier(page)


def test_barriers_are_found(page: Page) -> None:
    """The tests above can fail."""
    page.evaluate("document.querySelector('label').remove()")
    with pytest.raises(AssertionError, match="label"):
        assert_no_barrier(page)
