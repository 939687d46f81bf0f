"""How the page's files are sent."""

import re

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


@pytest.mark.parametrize("name", ["__init__.py", "none.js", "..%2fapp.py", "index.html"])
def test_nothing_else_is_sent(service: Service, name: str) -> None:
    response = requests.get(f"{service.base}/page/{name}", timeout=10)
    assert response.status_code == requests.codes.not_found
    assert response.json()["error"]["code"] == "not_found"
