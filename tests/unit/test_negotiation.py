"""Which clients get a page: those that prefer HTML to JSON, and no others."""

import pytest

from service.negotiation import accepts_html_rather

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LYNX = "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01"
W3M = "text/html, text/*;q=0.5, image/*, application/*, video/*, audio/*, x-content/*"


@pytest.mark.parametrize(
    "accept",
    [
        CHROMIUM,
        FIREFOX,
        LYNX,
        W3M,
        "text/html",
        "TEXT/HTML ; charset=utf-8",
        "text/*",
        "text/html, */*",
        "application/json;q=0.5, text/html;q=0.6",
        "application/json;q=0, */*",
        "text/html;q=0.1, application/json; q=0.0",
        "*/*;q=0.1, text/html;q=0.2, application/json;q=0.1",
    ],
)
def test_a_page_is_for_clients_that_prefer_it(accept: str) -> None:
    assert accepts_html_rather(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/*",
        "application/json, text/plain, */*",
        "application/json, text/html",
        "text/html, application/json",
        "text/html;q=0.9, application/json",
        "text/html;q=0, */*",
        "text/html;q=0",
        "text/html;q=0.3, */*;q=0.4",
        "text/html;level=1;q=0, application/json;q=0.1",
        "text/plain",
        "text/htmlx",
        "image/*",
        ",;,q=1;;=",
        "text/html;q=x",
        "text/html;q=-1",
        "text/html;q=nan",
        "text/html;q=1e9",
        # What Java's HttpURLConnection sends by itself, in old and in current releases.
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "text/html, image/gif, image/jpeg, */*; q=0.2",
    ],
)
def test_json_is_for_all_others(accept: str) -> None:
    assert not accepts_html_rather(accept)
