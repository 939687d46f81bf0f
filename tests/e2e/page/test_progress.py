"""The bar of a download: it moves smoothly, and never shows more than was reported."""

import base64
from itertools import pairwise
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.page.actions import ID, answer

pytestmark = pytest.mark.services

URL = "http://example.com/file"
TOTAL = 1000
STEP = 50  # milliseconds between two looks

Reduced = Literal["reduce", "no-preference"]


def begin(page: Page, reports: list[dict[str, object]]) -> None:
    """Open a task whose answers are these, one per second, on a clock that stands still."""
    page.clock.install(time=0)
    page.clock.pause_at(60)

    def fulfill(route: Route) -> None:
        report = reports.pop(0) if len(reports) > 1 else reports[0]
        body = {"status": "running", "url": URL, "attempt": 1, "bytes_total": TOTAL, **report}
        route.fulfill(status=202, json=body, headers={"Retry-After": "1"})

    page.route("**/check?*", fulfill)
    page.goto(f"/?id={ID}")


def look(page: Page, done: int) -> None:
    """Let time pass until a report has arrived."""
    for _ in range(100):
        page.clock.run_for(20)
        if page.locator(".pace").inner_text().startswith(f"{done}\u00a0byte"):
            return
    raise AssertionError(f"{done} bytes were not reported")


def shown(page: Page, seconds: float) -> list[float]:
    """What the bar shows while time passes."""
    values = []
    for _ in range(round(seconds * 1000 / STEP)):
        page.clock.run_for(STEP)
        values.append(bar(page).evaluate("bar => bar.value"))
    return values


def bar(page: Page) -> Locator:
    return page.get_by_role("progressbar")


def test_bar_moves_smoothly_and_never_beyond_the_last_report(page: Page) -> None:
    begin(page, [{"bytes_done": done} for done in (100, 400, 400)])
    look(page, 100)
    assert bar(page).evaluate("bar => bar.value") == 0.1  # at once: it is what is there
    look(page, 400)
    values = shown(page, 0.7)
    assert all(0.1 <= value <= 0.4 for value in values)
    assert all(earlier <= later for earlier, later in pairwise(values))
    steps = [later - earlier for earlier, later in pairwise(values)]
    assert max(steps) < 0.05
    assert len({round(value, 3) for value in values}) > 8
    assert max(shown(page, 3)) == 0.4  # it arrives, and waits there


def test_bar_goes_back_only_with_a_new_attempt(page: Page) -> None:
    error = {"code": "timeout", "message": "The server fell silent."}
    retry = {"retry_at": "2026-11-23T13:12:42.094Z", "error": error, "bytes_done": 600}
    begin(page, [{"bytes_done": 600}, retry, {"attempt": 2, "bytes_done": 50}])
    look(page, 600)
    page.clock.run_for(1000)
    expect(page.locator(".pace")).to_contain_text("Waiting for the next attempt")
    assert bar(page).evaluate("bar => bar.value") == 0.6
    look(page, 50)
    assert bar(page).evaluate("bar => bar.value") == 0.05  # at once


def test_bar_does_not_move_for_those_who_prefer_less_motion(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    begin(page, [{"bytes_done": done} for done in (100, 400, 400)])
    look(page, 100)
    look(page, 400)
    assert bar(page).evaluate("bar => bar.value") == 0.4


@pytest.mark.parametrize("total", [TOTAL, None])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("forced", ["none", "active"])
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_bar_is_visible(
    page: Page,
    total: int | None,
    scheme: Literal["light", "dark"],
    forced: Literal["none", "active"],
    motion: Reduced,
) -> None:
    """Of known and of unknown size: two colours, which differ as WCAG 2.1 § 1.4.11 demands."""
    page.emulate_media(color_scheme=scheme, forced_colors=forced, reduced_motion=motion)
    body = {"status": "running", "url": URL, "bytes_done": 500, "bytes_total": total}
    page.route("**/check?*", answer(202, body))
    page.goto(f"/?id={ID}")
    expect(page.locator(".pace")).to_contain_text("500")
    position = 0.5 if total else -1
    expect(bar(page)).to_have_js_property("position", position)
    first, second = main_colours(page, bar(page).screenshot())
    assert contrast(first, second) >= 3
    is_animated = bar(page).evaluate("bar => getComputedStyle(bar).animationName") != "none"
    assert is_animated == (total is None and motion == "no-preference")


def main_colours(page: Page, picture: bytes) -> list[tuple[int, int, int]]:
    """The two most frequent colours of a picture."""
    blank = page.context.new_page()  # whose policy lets it load the picture
    counts: dict[str, int] = blank.evaluate(
        """async base64 => {
            const bytes = Uint8Array.from(atob(base64), each => each.charCodeAt(0));
            const bitmap = await createImageBitmap(new Blob([bytes]));
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            const context = canvas.getContext("2d");
            context.drawImage(bitmap, 0, 0);
            const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
            const counts = {};
            for (let i = 0; i < data.length; i += 4) {
                const colour = `${data[i]},${data[i + 1]},${data[i + 2]}`;
                counts[colour] = (counts[colour] ?? 0) + 1;
            }
            return counts;
        }""",
        base64.b64encode(picture).decode(),
    )
    blank.close()
    names = sorted(counts, key=lambda name: counts[name], reverse=True)[:2]
    assert counts[names[1]] > 0.1 * sum(counts.values())
    colours = [tuple(map(int, name.split(","))) for name in names]
    return [(red, green, blue) for red, green, blue in colours]


def contrast(*colours: tuple[int, int, int]) -> float:
    """The ratio of WCAG 2.1."""
    darker, lighter = sorted(map(luminance, colours))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: tuple[int, int, int]) -> float:
    parts = [each / 255 for each in colour]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
