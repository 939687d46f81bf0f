"""The page in a real browser."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.conftest import REQUIRE_SERVICES
from tests.e2e.conftest import System
from tests.servers.browser import open_browser
from tests.servers.origin import Origin
from tests.servers.process import MissingServerError
from tests.servers.system import Service
from tests.waiting import wait_for

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = bytes(range(256)) * 5000
MD5 = hashlib.md5(BODY).hexdigest()
ID = "0e4fac17-f367-4807-8c28-8a059a2f82ac"

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it the tests skip on a laptop and fail in CI."""
    try:
        with open_browser() as browser:
            yield browser
    except MissingServerError as error:
        if REQUIRE_SERVICES:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    system = System(tmp_path_factory.mktemp("page"), {"WORKER_THREADS": "10"})
    yield system.start()
    system.stop()


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    """A browser that was never here, in which nothing may go wrong unseen."""
    context = browser.new_context(base_url=service.base, viewport={"width": 900, "height": 900})
    context.set_default_timeout(30_000)
    troubles: list[str] = []
    hosts: set[str] = set()
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("console", lambda message: troubles.append(message.text))
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield context
    context.close()
    # The browser itself writes down each answer that is an error, which some are here.
    assert [text for text in troubles if not text.startswith("Failed to load resource")] == []
    assert hosts <= {urlsplit(service.base).netloc}


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/")
    return page


def submit(page: Page, url: str, *, md5: str = "", email: str = "") -> None:
    page.get_by_label("URL of the file").fill(url)
    page.get_by_label("Mail the result to").fill(email)
    page.get_by_label("Expected MD5").fill(md5)
    page.get_by_role("button", name="Compute MD5").click()


def card(page: Page, url: str) -> Locator:
    return page.get_by_role("listitem").filter(
        has=page.get_by_role("heading", name=url, exact=True)
    )


def news(page: Page) -> Locator:
    return page.locator("[aria-live=polite]")


def answer(status: int, body: object, **headers: str) -> Callable[[Route], None]:
    def fulfill(route: Route) -> None:
        route.fulfill(status=status, json=body, headers=headers)

    return fulfill


def test_a_download_from_submit_to_copy(context: BrowserContext, page: Page, serve: Serve) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    origin = serve({"/file.bin": BODY})
    origin.may_finish.clear()
    url = f"{origin.base}/file.bin"

    submit(page, url)

    task = card(page, url)
    progress = task.get_by_role("progressbar", name="Download of file.bin")
    expect(task).to_contain_text("640 kB of 1.28 MB")
    expect(progress).to_have_js_property("value", 0.5)
    expect(progress).to_have_attribute("aria-valuetext", re.compile("^640.kB of 1.28.MB"))
    expect(page.get_by_label("URL of the file")).to_have_value("")
    height = task.evaluate("task => task.offsetHeight")
    origin.may_finish.set()
    expect(task.get_by_text(MD5)).to_be_visible()
    expect(progress).to_be_hidden()
    expect(task).to_contain_text("1.28 MB (1,280,000 bytes)")
    assert task.evaluate("task => task.offsetHeight") == height  # nothing jumps
    task.get_by_role("button", name="Copy the MD5 of file.bin").click()
    expect(task.get_by_role("button", name="Copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == MD5
    # What is announced: the begin and the end, nothing in between.
    expect(news(page).locator("p")).to_have_text(
        ["file.bin: begun.", f"file.bin: the MD5 is {MD5}.", "Copied."]
    )


def test_copy_without_the_clipboard_of_https(
    context: BrowserContext, service: Service, serve: Serve
) -> None:
    context.grant_permissions(["clipboard-read"])
    task_id = service.submit(f"{serve({'/file': BODY}).base}/file")
    page = context.new_page()
    page.goto(f"/?id={task_id}")
    page.evaluate("navigator.clipboard.writeText = undefined")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == MD5


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        (MD5.upper(), "It is the MD5 you expected."),
        ("0" * 32, f"It is not the MD5 you expected, {'0' * 32}"),
    ],
)
def test_verdict(page: Page, serve: Serve, expected: str, verdict: str) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    submit(page, url, md5=expected)
    expect(card(page, url).locator(".verdict")).to_have_text(verdict)
    expect(news(page)).to_contain_text(f"{MD5}. {verdict}")


def test_a_failure_in_words_and_another_try(page: Page, serve: Serve) -> None:
    files: dict[str, bytes] = {}
    origin = serve(files)
    url = f"{origin.base}/file"
    submit(page, url)
    failure = "Failed: The server answered 404 instead of 200."
    expect(card(page, url)).to_contain_text(failure)
    expect(news(page)).to_contain_text(f"file: {failure}")
    files["/file"] = BODY
    page.get_by_role("button", name="Try again: file").click()
    expect(card(page, url)).to_have_count(2)
    expect(card(page, url).first).to_contain_text(MD5)


@pytest.mark.parametrize(
    ("label", "values", "message"),
    [
        ("URL of the file", ("", "", ""), "The URL must be given, and not be empty."),
        ("URL of the file", ("ftp://a.b/", "", ""), "The URL must begin with http:// or https://."),
        ("Mail the result to", ("http://example.com/", "", "nobody"), "The address is not an"),
        ("Expected MD5", ("http://example.com/", "12", ""), "The MD5 must be 32 hexadecimal"),
    ],
)
def test_an_error_is_told_at_its_field(
    page: Page, label: str, values: tuple[str, str, str], message: str
) -> None:
    url, md5, email = values
    submit(page, url, md5=md5, email=email)
    field = page.get_by_label(label)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile(re.escape(message)))
    expect(page.get_by_role("alert").filter(has_text=message)).to_be_visible()
    expect(page.get_by_label("URL of the file")).to_have_value(url)
    field.press_sequentially("x")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text(message)).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (429, {"error": {"code": "x", "message": "Later."}}, "Later. Please try again in 7 s."),
        (503, {"error": {"code": "x", "message": "Not now."}}, "Not now."),
        (502, "<h1>Bad Gateway</h1>", "The service did not answer. Please try again."),
    ],
)
def test_a_refusal_of_the_service_is_told(
    page: Page, status: int, body: object, message: str
) -> None:
    page.route("**/submit", answer(status, body, **{"Retry-After": "7"}))
    submit(page, "http://example.com/file")
    expect(page.get_by_role("alert").filter(has_text=message)).to_have_text(message)
    expect(page.get_by_label("URL of the file")).to_have_value("http://example.com/file")
    expect(page.get_by_role("listitem")).to_have_count(0)


def test_the_next_one_can_be_submitted_before_the_answer(page: Page, serve: Serve) -> None:
    base = serve({}).base
    held: list[Route] = []
    page.route("**/submit", lambda route: held.append(route))  # noqa: PLW0108  Playwright's wish
    submit(page, f"{base}/a")
    submit(page, f"{base}/a")
    submit(page, f"{base}/b")
    wait_for(lambda: page.evaluate("true") and len(held) >= 2)
    first, second = held
    first.continue_()
    expect(card(page, f"{base}/a")).to_contain_text("404")
    expect(page.get_by_label("URL of the file")).to_have_value(f"{base}/b")
    second.continue_()
    expect(card(page, f"{base}/b")).to_contain_text("404")
    expect(page.get_by_label("URL of the file")).to_have_value("")


def test_a_double_click_submits_once(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    page.get_by_label("URL of the file").fill(url)
    page.get_by_role("button", name="Compute MD5").dblclick(delay=50)
    expect(card(page, url)).to_contain_text(MD5)
    expect(page.get_by_role("listitem")).to_have_count(1)
    expect(page.get_by_role("alert").filter(has_text="must be given")).to_have_count(0)


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


def test_a_browser_that_keeps_nothing(context: BrowserContext, serve: Serve) -> None:
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
    expect(page.get_by_role("listitem")).to_contain_text("There is no such task.")
    expect(news(page)).to_contain_text("There is no such task.")
    expect(page.locator("#tasks img")).to_have_count(0)
    page.goto("/")
    expect(page.get_by_role("listitem")).to_have_count(0)


def test_with_the_keyboard_alone(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    keyboard = page.keyboard
    keyboard.press("Tab")
    keyboard.type(url)
    keyboard.press("Tab")
    keyboard.type("user@example.com")
    keyboard.press("Tab")
    keyboard.type(MD5)
    keyboard.press("Enter")
    expect(card(page, url)).to_contain_text("It is the MD5 you expected.")
    names = []
    for _ in range(5):
        keyboard.press("Tab")
        focused = page.locator(":focus")
        names.append(focused.get_attribute("aria-label") or focused.inner_text())
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    assert names == [
        "Compute MD5",
        url,
        "Remove file from this list",
        "Copy the MD5 of file",
        "Link to this task",
    ]
    keyboard.press("Shift+Tab")
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    expect(page.get_by_role("listitem")).to_have_count(0)
    expect(page.get_by_label("URL of the file")).to_be_focused()


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


def test_dark_mode(page: Page) -> None:
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


def test_a_size_that_is_unknown(page: Page) -> None:
    body = {"status": "running", "url": "http://example.com/", "attempt": 2}
    page.route("**/check?*", answer(202, body | {"bytes_done": 5_000_000, "bytes_total": None}))
    page.goto(f"/?id={ID}")
    expect(page.locator(".pace")).to_have_text("5.00 MB, size unknown · attempt 2")
    expect(page.get_by_role("progressbar")).to_have_js_property("position", -1)


def test_speed_and_time_left(page: Page) -> None:
    """The page's clock stands still but for what the test lets it go on."""
    page.clock.install(time=0)
    done = iter(range(0, 100_000_000, 1_000_000))
    body = {"status": "running", "url": "http://example.com/", "bytes_total": 100_000_000}
    page.route(
        "**/check?*",
        lambda route: route.fulfill(
            status=202, json=body | {"bytes_done": next(done)}, headers={"Retry-After": "1"}
        ),
    )
    page.goto(f"/?id={ID}")
    expect(page.locator(".pace")).to_have_text("0 bytes of 100 MB")
    page.clock.pause_at(3600)
    for _ in range(15):
        with page.expect_response("**/check?*"):
            page.clock.run_for(1000)
    expect(page.locator(".pace")).to_have_text(
        re.compile(r"^1[0-9]\.0.MB of 100.MB.· 1\.00.MB/s.· about 2.min left$")
    )


@pytest.mark.parametrize(
    ("mail_status", "words"),
    [
        ("pending", "on its way"),
        ("delayed", "tried again"),
        ("sent", "has been sent"),
        ("refused", "could not be delivered"),
    ],
)
def test_the_mail_is_told_in_words(page: Page, mail_status: str, words: str) -> None:
    url, moment = "http://example.com/file", "2026-11-23T13:12:42.094Z"
    done = {"md5": MD5, "status": "done", "url": url, "size": 1, "length_verified": False}
    done |= {"final_url": "http://example.com/other", "finished_at": moment}
    page.route("**/check?*", answer(200, done | {"mail_status": mail_status}))
    page.goto(f"/?id={ID}")
    expect(card(page, url)).to_contain_text(words)
    expect(card(page, url)).to_contain_text("led on to http://example.com/other")
    expect(card(page, url)).to_contain_text("a cut would not have been seen")


def test_an_outage_is_told_and_outlasted(page: Page, service: Service, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    task_id = service.submit(url)
    page.route("**/check?*", answer(503, {}, **{"Retry-After": "1"}), times=2)
    page.goto(f"/?id={task_id}")
    expect(page.get_by_role("listitem")).to_contain_text("cannot be reached just now")
    expect(card(page, url)).to_contain_text(MD5)
    expect(page.get_by_text("cannot be reached")).to_have_count(0)


def test_a_mail_is_followed_to_its_end(page: Page) -> None:
    page.clock.install(time=0)
    url, moment = "http://example.com/file", "2026-11-23T13:12:42.094Z"
    failed = {"url": url, "error": {"message": "No."}, "finished_at": moment}
    statuses = ["sent", "delayed", "sending", "pending"]
    page.route(
        "**/check?*",
        lambda route: route.fulfill(status=424, json=failed | {"mail_status": statuses.pop()}),
    )
    page.goto(f"/?id={ID}")
    expect(card(page, url)).to_contain_text("on its way")

    def has_been_sent() -> bool:
        page.clock.run_for(1000)
        return page.get_by_text("has been sent").count() == 1

    wait_for(has_been_sent)
    expect(news(page).locator("p")).to_have_text(["file: Failed: No."])


def test_an_outage_is_met_with_growing_pauses(page: Page) -> None:
    page.clock.install(time=0)
    page.add_init_script(
        """window.askedAt = []; const ask = fetch;
        window.fetch = (...request) => { askedAt.push(Date.now()); return ask(...request); };"""
    )
    page.route("**/check?*", lambda route: route.abort())
    page.goto(f"/?id={ID}")
    page.clock.pause_at(3600)

    def asked_at() -> list[int]:
        page.clock.run_for(500)
        times: list[int] = page.evaluate("askedAt")
        return times if len(times) >= 5 else []

    times = wait_for(asked_at)
    _, second, third, fourth = (later - earlier for earlier, later in pairwise(times[:5]))
    assert second >= 4000
    assert third >= 8000
    assert fourth >= 16_000


def test_nobody_is_asked_while_nobody_looks(page: Page) -> None:
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/check?*", answer(202, {"status": "running", "url": "http://example.com/"}))

    def look(*, hidden: bool) -> None:
        page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    page.goto(f"/?id={ID}")
    expect(page.locator(".pace")).to_have_text("Waiting for its turn")
    look(hidden=True)
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/check?*"):
        look(hidden=False)
        page.clock.run_for(1)


def test_files_are_sent_safely(service: Service) -> None:
    page = requests.get(service.base, timeout=10)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    names = set(re.findall(r'(?:href|src)="(page/[^"]+)"', page.text))
    assert names == {"page/icon.svg", "page/page.css", "page/page.js"}
    for name in ["", *names, "page/card.js"]:
        response = requests.get(f"{service.base}/{name}", timeout=10)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-cache"
        tag = {"If-None-Match": f'"other", W/{response.headers["ETag"]}'}
        again = requests.get(response.url, headers=tag, timeout=10)
        assert again.status_code == requests.codes.not_modified
        assert again.headers["ETag"] == response.headers["ETag"]
        head = requests.head(response.url, timeout=10)
        assert head.status_code == requests.codes.ok
        assert head.headers["ETag"] == response.headers["ETag"]


@pytest.mark.parametrize("name", ["__init__.py", "none.js", "..%2fapp.py", "index.html"])
def test_nothing_else_is_sent(service: Service, name: str) -> None:
    response = requests.get(f"{service.base}/page/{name}", timeout=10)
    assert response.status_code == requests.codes.not_found
    assert response.json()["error"]["code"] == "not_found"


def test_the_form_works_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(base_url=service.base, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    submit(page, "http://127.0.0.1:1025/file")
    expect(page.locator("body")).to_have_text(re.compile(r'^\{"id":"[0-9a-f-]{36}"\}$'))
    context.close()
