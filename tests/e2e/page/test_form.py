"""From the form to the digest."""

import hashlib
import re

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.page.actions import BODY, MD5, Serve, answer, card, news, submit, tab

pytestmark = pytest.mark.services


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
        ["file.bin: started.", f"file.bin: the MD5 is {MD5}.", "Copied."]
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
def test_card_shows_whether_the_digest_matches(
    page: Page, serve: Serve, expected: str, verdict: str
) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    submit(page, url, md5=expected)
    expect(card(page, url).locator(".verdict")).to_have_text(verdict)
    expect(news(page)).to_contain_text(f"{MD5}. {verdict}")


def test_more_digests(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    page.get_by_label("Digests").select_option("MD5 and SHA-256")
    submit(page, url)
    shown = card(page, url)
    expect(shown.locator(".digest")).to_have_text(MD5)
    expect(shown.locator(".digests")).to_have_text(f"SHA-256{hashlib.sha256(BODY).hexdigest()}")
    page.reload()
    expect(shown.locator(".digests")).to_contain_text(hashlib.sha256(BODY).hexdigest())


def test_a_linked_task_says_which_digests_differ(
    page: Page, service: Service, serve: Serve
) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    task_id = service.submit(url, md5=MD5, sha256="0" * 64, sha512="0" * 128)
    page.goto(f"/?id={task_id}")
    expect(card(page, url).locator(".verdict")).to_have_text(
        "It is not what was expected: SHA-256, SHA-512."
    )


def test_a_lost_answer_and_another_click_make_one_task(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    ids: list[str] = []

    def lose(route: Route) -> None:
        ids.append(route.fetch().json()["id"])
        route.abort()

    page.route("**/submit", lose, times=2)
    for _ in range(2):
        submit(page, url)
        expect(page.get_by_text("The service did not answer.")).to_be_visible()
    submit(page, url)
    link = card(page, url).get_by_role("link", name="Link to this task")
    expect(link).to_have_attribute("href", f"?id={ids[0]}")
    assert ids[0] == ids[1]
    expect(card(page, url)).to_contain_text(MD5)
    submit(page, url)  # what was answered is not kept: this is another one
    expect(card(page, url)).to_have_count(2)
    assert link.first.get_attribute("href") != link.last.get_attribute("href")


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
def test_error_is_shown_at_its_field(
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


def test_every_invalid_field_is_marked_at_once(page: Page) -> None:
    page.get_by_text("Submit a list").click()
    submit(page, "", email="nobody", md5="12")
    fields = {
        "URL of the file": "The URL must be given, and not be empty.",
        "Mail the result to": "The address is not an",
        "Expected MD5": "The MD5 must be 32 hexadecimal digits.",
    }
    for label, message in fields.items():
        field = page.get_by_label(label)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(re.escape(message)))
    expect(page.get_by_label("URL of the file")).to_be_focused()
    expect(page.get_by_label("URLs, one per line")).not_to_have_attribute("aria-invalid", "true")
    page.get_by_label("Expected MD5").press("End")
    page.keyboard.press("Backspace")  # corrects one, and leaves the others as they are
    expect(page.locator("[aria-invalid]")).to_have_count(2)
    page.get_by_label("URLs, one per line").fill("nope")
    page.get_by_label("Mail the result to").fill("user@example.com")
    page.get_by_role("button", name="Compute MD5").click()
    invalid = page.locator("[aria-invalid]")
    expect(invalid).to_have_count(2)
    expect(page.get_by_label("URLs, one per line")).to_have_accessible_description(
        re.compile("Line 1: url must begin with")
    )
    expect(page.get_by_label("Expected MD5")).to_have_accessible_description(
        "The MD5 cannot be given together with urls."
    )
    expect(page.get_by_label("URLs, one per line")).to_be_focused()


def test_an_error_without_a_field_of_the_form_is_shown_beside_the_others(page: Page) -> None:
    errors = [
        {"code": "invalid_parameter", "message": "md5 is odd.", "field": "md5", "rule": "is odd."},
        {"code": "invalid_parameter", "message": "Some-Header is odd.", "field": "Some-Header"},
        {"code": "invalid_parameter", "message": "Another is odd.", "field": "Another"},
    ]
    page.route("**/submit", answer(400, {"error": errors[0], "errors": errors}))
    submit(page, "http://example.com/")
    expect(page.locator("#md5-error")).to_have_text("The MD5 is odd.")
    expect(page.locator("#form-error")).to_have_text("Some-Header is odd. Another is odd.")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (429, {"error": {"code": "x", "message": "Later."}}, "Later. Please try again in 7 s."),
        (503, {"error": {"code": "x", "message": "Not now."}}, "Not now."),
        (502, "<h1>Bad Gateway</h1>", "The service did not answer. Please try again."),
    ],
)
def test_refusal_of_the_service_is_shown(
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


def test_with_the_keyboard_alone(page: Page, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    keyboard = page.keyboard
    keyboard.press("Tab")
    keyboard.type(url)
    keyboard.press("Tab")
    expect(page.locator("summary")).to_be_focused()
    keyboard.press("Tab")
    keyboard.type("user@example.com")
    keyboard.press("Tab")
    keyboard.type(MD5)
    keyboard.press("Enter")
    expect(card(page, url)).to_contain_text("It is the MD5 you expected.")
    keyboard.press("Tab")
    expect(page.get_by_label("Digests")).to_be_focused()
    assert tab(page, 5) == [
        "Compute MD5",
        url,
        "Remove file from this list",
        "Copy the MD5 of file",
        "Link to this task: file",
    ]
    keyboard.press("Shift+Tab")
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    expect(page.get_by_role("listitem")).to_have_count(0)
    expect(page.get_by_label("URL of the file")).to_be_focused()
