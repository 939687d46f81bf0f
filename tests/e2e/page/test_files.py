"""How the page's files are sent."""

import re
from urllib.parse import urljoin

import pytest
import requests

from devtools.servers.system import Service


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


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "?a=1&b=%20"])
def test_a_slash_after_docs_leads_to_the_documentation(
    service: Service, query: str, method: str
) -> None:
    url = f"{service.base}/docs/{query}"
    moved = requests.request(method, url, allow_redirects=False, timeout=10)
    assert moved.status_code == requests.codes.permanent_redirect
    below = urljoin(f"http://example.com/prefix/docs/{query}", moved.headers["Location"])
    assert below == f"http://example.com/prefix/docs{query}"
    found = requests.request(method, url, timeout=10)
    assert (found.status_code, found.url) == (requests.codes.ok, f"{service.base}/docs{query}")


@pytest.mark.parametrize(
    "path", ["/check/", "/submit/", "/export/", "/health/live/", "/health/ready/", "/metrics/"]
)
def test_a_slash_at_the_end_does_no_harm(service: Service, path: str) -> None:
    without = requests.get(f"{service.base}{path[:-1]}", timeout=10)
    answer = requests.get(f"{service.base}{path}", timeout=10, allow_redirects=False)
    assert answer.status_code == without.status_code != requests.codes.not_found


@pytest.mark.parametrize("name", ["__init__.py", "none.js", "..%2fapp.py", "index.html"])
def test_nothing_else_is_sent(service: Service, name: str) -> None:
    response = requests.get(f"{service.base}/page/{name}", timeout=10)
    assert response.status_code == requests.codes.not_found
    assert response.json()["error"]["code"] == "not_found"
