"""How the page follows a task, with a clock and answers of the tests' own."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from devtools.servers.system import Service
from devtools.waiting import wait_for
from tests.e2e.page.actions import BODY, ID, MD5, Serve, answer, card, news, submit

pytestmark = pytest.mark.services


def stop_clock(page: Page) -> None:
    """From now on, time passes on the page only when the test lets it."""
    page.clock.install(time=0)
    page.clock.pause_at(60)


def test_a_size_that_is_unknown(page: Page) -> None:
    body = {"status": "running", "url": "http://example.com/", "attempt": 2}
    page.route("**/check?*", answer(202, body | {"bytes_done": 5_000_000, "bytes_total": None}))
    page.goto(f"/?id={ID}")
    expect(page.locator(".pace")).to_have_text("5.00 MB, size unknown · attempt 2")
    expect(page.get_by_role("progressbar")).to_have_js_property("position", -1)


def test_the_next_attempt(page: Page) -> None:
    url, error = "http://example.com/", {"code": "timeout", "message": "The server fell silent."}
    body = {"status": "running", "url": url, "attempt": 2, "bytes_done": 5, "bytes_total": 10}
    page.route(
        "**/check?*", answer(202, body | {"retry_at": "2026-11-23T13:12:42.094Z", "error": error})
    )
    page.goto(f"/?id={ID}")
    pace = page.locator(".pace")
    expect(pace).to_have_text(re.compile(r"^Waiting for the next attempt at \d\d:12:42\s·"))
    expect(pace).to_contain_text("the last one failed: The server fell silent.")


def test_speed_and_time_left(page: Page) -> None:
    stop_clock(page)
    done = iter(range(0, 100_000_000, 1_000_000))
    body = {"status": "running", "url": "http://example.com/", "bytes_total": 100_000_000}
    page.route(
        "**/check?*",
        lambda route: route.fulfill(
            status=202, json=body | {"bytes_done": next(done)}, headers={"Retry-After": "1"}
        ),
    )
    page.goto(f"/?id={ID}")
    page.clock.run_for(1)
    expect(page.locator(".pace")).to_have_text("0 bytes of 100 MB")
    for number in range(1, 16):
        page.clock.run_for(1000)
        expect(page.locator(".pace")).to_have_text(re.compile(rf"^{number}\.0+.MB of 100.MB"))
    expect(page.locator(".pace")).to_contain_text("1.00 MB/s · about 2 min left")


@pytest.mark.parametrize(
    ("mail_status", "words"),
    [
        ("pending", "on its way"),
        ("delayed", "goes out later"),
        ("sent", "has been sent"),
        ("refused", "could not be delivered"),
    ],
)
def test_card_describes_the_state_of_the_mail(page: Page, mail_status: str, words: str) -> None:
    url, moment = "http://example.com/file", "2026-11-23T13:12:42.094Z"
    done = {"md5": MD5, "status": "done", "url": url, "size": 1, "length_verified": False}
    done |= {"final_url": "http://example.com/other", "finished_at": moment}
    page.route("**/check?*", answer(200, done | {"mail_status": mail_status}))
    page.goto(f"/?id={ID}")
    expect(card(page, url)).to_contain_text(words)
    expect(card(page, url)).to_contain_text("Redirected to http://example.com/other")
    expect(card(page, url)).to_contain_text("truncation could not be detected")


def test_page_reports_and_outlasts_an_outage(page: Page, service: Service, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    task_id = service.submit(url)
    page.route("**/check?*", answer(503, {}, **{"Retry-After": "1"}), times=2)
    page.goto(f"/?id={task_id}")
    expect(page.get_by_role("listitem")).to_contain_text("The service is unreachable")
    expect(card(page, url)).to_contain_text(MD5)
    expect(page.get_by_text("cannot be reached")).to_have_count(0)


def test_a_mail_is_followed_to_its_end(page: Page) -> None:
    stop_clock(page)
    url, moment = "http://example.com/file", "2026-11-23T13:12:42.094Z"
    failed = {"url": url, "error": {"message": "No."}, "finished_at": moment}
    statuses = ["sent", "delayed", "sending", "pending"]
    page.route(
        "**/check?*",
        lambda route: route.fulfill(status=424, json=failed | {"mail_status": statuses.pop()}),
    )
    page.goto(f"/?id={ID}")
    page.clock.run_for(1)
    expect(card(page, url)).to_contain_text("on its way")

    def has_been_sent() -> bool:
        page.clock.run_for(1000)
        return page.get_by_text("has been sent").count() == 1

    wait_for(has_been_sent)
    expect(news(page).locator("p")).to_have_text(["file: Failed: No."])


def test_an_outage_is_met_with_growing_pauses(page: Page) -> None:
    stop_clock(page)
    page.add_init_script(
        """window.askedAt = []; const ask = fetch;
        window.fetch = (...request) => { askedAt.push(Date.now()); return ask(...request); };"""
    )
    page.route("**/check?*", lambda route: route.abort())
    page.goto(f"/?id={ID}")

    def asked_at() -> list[int]:
        page.clock.run_for(500)
        times: list[int] = page.evaluate("askedAt")
        return times if len(times) >= 5 else []

    times = wait_for(asked_at)
    first, second, third, fourth = (later - earlier for earlier, later in pairwise(times[:5]))
    assert first >= 2000
    assert second >= 4000
    assert third >= 8000
    assert fourth >= 16_000


def test_hidden_page_sends_no_requests(page: Page) -> None:
    stop_clock(page)
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
    page.clock.run_for(1)
    expect(page.locator(".pace")).to_have_text("Waiting for its turn")
    look(hidden=True)
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/check?*"):
        look(hidden=False)
        page.clock.run_for(1)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (MD5, "The server of the file declares the same MD5."),
        ("0" * 32, f"The server of the file declares another MD5, {'0' * 32}."),
    ],
)
def test_what_the_origin_declares(page: Page, declared: str, sentence: str) -> None:
    url, moment = "http://example.com/", "2026-11-23T13:12:42.094Z"
    done = {"status": "done", "url": url, "md5": MD5, "final_url": url, "size": 1}
    done |= {"finished_at": moment, "origin_md5": declared, "origin_verified": declared == MD5}
    page.route("**/check?*", answer(200, done))
    page.goto(f"/?id={ID}")
    expect(card(page, url)).to_contain_text(sentence)
    expect(card(page, url).locator(".digests")).to_be_empty()


def test_a_cancellation_that_failed(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    url = f"{origin.base}/file"
    submit(page, url)

    def refuse(route: Route) -> None:
        if route.request.method == "DELETE":
            route.fulfill(status=503, json={"error": {}})
        else:
            route.continue_()

    page.route("**/check?*", refuse)
    said: list[str] = []

    def accept(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.accept()

    page.on("dialog", accept)
    card(page, url).get_by_role("button", name="Cancel file").click()
    expect(card(page, url).get_by_role("heading")).to_be_focused()
    assert said == ["Cancel file?", "file could not be cancelled. Please try again."]
    origin.may_finish.set()
    expect(card(page, url)).to_contain_text(MD5)


def test_a_task_is_cancelled_after_a_question(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    url = f"{origin.base}/file"
    submit(page, url)
    button = card(page, url).get_by_role("button", name="Cancel file")
    questions: list[str] = []

    def answer_with(name: str) -> None:
        def on_dialog(dialog: Dialog) -> None:
            questions.append(dialog.message)
            getattr(dialog, name)()

        page.once("dialog", on_dialog)

    answer_with("dismiss")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_be_visible()
    answer_with("accept")
    page.keyboard.press("Enter")
    expect(card(page, url)).to_contain_text("Failed: The task was cancelled.")
    expect(news(page)).to_contain_text("file: Failed: The task was cancelled.")
    expect(button).not_to_be_visible()
    assert questions == ["Cancel file?"] * 2


def test_a_list_is_cancelled(page: Page, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    page.get_by_text("Submit a list").click()
    page.get_by_label("URLs, one per line").fill(f"{origin.base}/file\n{origin.base}/missing")
    page.get_by_role("button", name="Compute MD5").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel the list of 2 files").click()
    expect(page.get_by_role("listitem").first).to_contain_text("0 of 2 done, 2 failed.")
