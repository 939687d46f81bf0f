"""The service below a path of nginx and of Caddy, configured by the files of deploy/."""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from playwright.sync_api import expect
from requests.adapters import HTTPAdapter

from devtools.servers.browser import open_browser
from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.process import free_port
from devtools.servers.proxies import FOLDER, Caddy, Nginx, Proxy
from devtools.waiting import PATIENCE, wait_for, wait_for_a_fresh_minute
from service.errors import TOO_LARGE
from service.submission import MAX_LIST_BYTES
from service.waiting import LONGEST_SECONDS

pytestmark = pytest.mark.services

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = b"hello\n"
MD5 = hashlib.md5(BODY).hexdigest()
REFUSED = "http://127.0.0.2:1025/never-fetched"  # by the list of denied networks


class Site:
    """The service as users reach it, by a proxy. They have addresses of this machine."""

    def __init__(self, proxy: Proxy) -> None:
        self.base = proxy.base
        self.ca_bundle = str(proxy.ca_bundle)

    def ask(
        self, method: str, where: str = "", *, client: str = "127.0.0.1", **parts: Any
    ) -> requests.Response:
        """Send a request to a reference, as it stands in a page at the root of the site."""
        with requests.Session() as session:
            adapter = HTTPAdapter()
            adapter.init_poolmanager(1, 1, source_address=(client, 0))
            session.mount("https://", adapter)
            url = urljoin(f"{self.base}/", where)
            return session.request(
                method,
                url,
                timeout=PATIENCE,
                allow_redirects=False,
                verify=self.ca_bundle,
                **parts,
            )

    def wait_for_end(self, answer: requests.Response) -> dict[str, Any]:
        """Return the result of a submission, from where its answer says that it is."""
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        where = urljoin(answer.url, answer.headers["Location"])
        ended = self.ask("GET", where, headers={"Prefer": "wait=60"})
        assert ended.status_code != HTTPStatus.NOT_FOUND, where
        body: dict[str, Any] = ended.json()
        return body


@pytest.fixture(params=[Nginx, Caddy])
def start_site(
    request: pytest.FixtureRequest, tmp_path: Path, inbox: Inbox
) -> Iterator[Callable[..., Site]]:
    port = free_port()
    settings = {
        "SMTP_URL": inbox.url,
        "PROXIES_COUNT": "1",
        "PUBLIC_URL": f"https://127.0.0.1:{port}/md5",
        "DENY_NETWORKS": "127.0.0.2",
    }
    system = System(tmp_path, settings)
    proxies: list[Proxy] = []

    def start(**settings: str) -> Site:
        service = system.start_service(**settings)
        proxies.append(request.param(tmp_path / "proxy", port, service.base))
        return Site(proxies[-1])

    yield start
    for proxy in proxies:
        proxy.stop()
    system.close()


def test_pages_and_their_links_are_below_the_path(start_site: Callable[..., Site]) -> None:
    site = start_site()
    redirect = site.ask("GET", site.base)
    assert redirect.is_redirect
    assert urlsplit(urljoin(site.base, redirect.headers["Location"])).path == "/md5/"
    for page in ("", "docs"):
        html = site.ask("GET", page)
        assert html.status_code == HTTPStatus.OK
        links = {
            urljoin(html.url, each)
            for each in re.findall(r'(?:href|src|action)="([^"#]+)"', html.text)
            if not each.startswith(("https:", "http:", "data:"))
        }
        assert len(links) > 3
        for link in links:
            assert link.startswith(f"{site.base}/")
            method = "OPTIONS" if link.endswith("/submit") else "GET"
            assert site.ask(method, link).status_code < HTTPStatus.BAD_REQUEST, link


def test_openapi_document_leads_below_the_path(start_site: Callable[..., Site]) -> None:
    document = start_site().ask("GET", "docs/openapi.json")
    (server,) = document.json()["servers"]
    assert urljoin(document.url, server["url"]) == urljoin(document.url, "/md5/")


def test_answers_say_where_the_task_is(start_site: Callable[..., Site], serve: Serve) -> None:
    site, origin = start_site(), serve({"/a": BODY, "/b": BODY})

    submitted = site.ask("POST", "submit", data={"url": f"{origin.base}/a"})
    waited = site.ask(
        "POST", "submit", data={"url": f"{origin.base}/b"}, headers={"Prefer": "wait=60"}
    )

    assert site.wait_for_end(submitted)["md5"] == MD5
    again = site.ask("GET", urljoin(waited.url, waited.headers["Content-Location"]))
    assert again.status_code == HTTPStatus.OK
    assert again.json()["md5"] == MD5


def test_page_works_below_the_path(start_site: Callable[..., Site], serve: Serve) -> None:
    site, origin = start_site(), serve({"/a": BODY})
    with open_browser() as browser:
        page = browser.new_page(ignore_https_errors=True)
        page.goto(f"{site.base}/")
        page.get_by_label("URL of the file").fill(f"{origin.base}/a")
        page.get_by_role("button", name="Compute MD5").click()
        expect(page.get_by_text(MD5, exact=True)).to_be_visible(timeout=30_000)
        page.get_by_role("link", name="Link to this task").click()
        expect(page).to_have_url(re.compile(rf"{re.escape(site.base)}/\?id=.*"))
        expect(page.get_by_text(MD5, exact=True)).to_be_visible(timeout=30_000)


def test_mails_link_to_the_task(
    start_site: Callable[..., Site], serve: Serve, inbox: Inbox
) -> None:
    site, origin = start_site(), serve({"/a": BODY})
    site.ask("POST", "submit", data={"url": f"{origin.base}/a", "email": "user@example.com"})
    (mail,) = wait_for(lambda: inbox.mails)
    (link,) = re.findall(r"https://\S+", mail.decode())
    assert link.startswith(f"{site.base}/?id=")
    assert site.ask("GET", link).status_code == HTTPStatus.OK


def test_long_requests_and_answers_pass(start_site: Callable[..., Site]) -> None:
    site = start_site()
    line = f"{REFUSED}/{'a' * 4000}"
    text = "\n".join(f"{line}{number}" for number in range(MAX_LIST_BYTES // (len(line) + 7)))
    assert len(text) > 0.95 * MAX_LIST_BYTES

    batch = site.ask("POST", "submit", files={"urls": ("urls.txt", text)})
    single = site.ask("POST", "submit", params={"url": f"{REFUSED}?{'ü' * 1000}"})

    assert single.status_code == HTTPStatus.ACCEPTED
    task_id = batch.json()["id"]
    get_export = partial(site.ask, "GET", "export", params={"id": task_id, "format": "ndjson"})
    export = wait_for(lambda: get_export(headers={"Prefer": "wait=60"}).ok and get_export())
    assert isinstance(export, requests.Response)
    assert export.text.count("\n") == batch.json()["total"]
    assert len(export.content) > len(text)


def test_refusal_of_a_body_that_is_too_long_is_that_of_the_service(
    start_site: Callable[..., Site], curl: str, tmp_path: Path
) -> None:
    site, path = start_site(), tmp_path / "urls.txt"
    path.write_text("#" * (MAX_LIST_BYTES + 1))
    options = ["-s", "--cacert", site.ca_bundle, "-w", "\n%{http_code}", "-F", f"urls=@{path}"]

    def submit() -> str:
        done = subprocess.run(
            [curl, *options, f"{site.base}/submit"],
            check=False,  # a proxy may refuse the rest of the body
            capture_output=True,
            text=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        assert int(status) == TOO_LARGE
        return body

    # With HTTP/2, curl 7.88 sometimes drops the body of an answer that precedes the end of its own.
    assert f"{MAX_LIST_BYTES:,} bytes" in json.loads(wait_for(submit))["error"]["message"]


def test_limits_count_each_client(start_site: Callable[..., Site]) -> None:
    site = start_site(SUBMITS_PER_MINUTE="1")
    wait_for_a_fresh_minute()
    clients = ["127.0.0.1", "127.0.0.3", "127.0.0.3", "127.0.0.1"]
    codes = [
        site.ask(
            "POST",
            "submit",
            client=client,
            data={"url": REFUSED},
            headers={"X-Forwarded-For": f"203.0.113.{number}"},  # of a client, so not believed
        ).status_code
        for number, client in enumerate(clients)
    ]
    assert codes == [202, 202, 429, 429]


def test_nginx_waits_as_long_as_a_client_may() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", (FOLDER / "nginx.conf").read_text())
    assert int(seconds) > LONGEST_SECONDS
