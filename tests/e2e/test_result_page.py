"""The result as a page, for browsers without JavaScript, and JSON for everything else."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from urllib.parse import urljoin

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.process import free_port
from devtools.servers.system import Service
from devtools.waiting import wait_for

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = bytes(range(256)) * 5000
MD5 = hashlib.md5(BODY).hexdigest()
ID = "0e4fac17-f367-4807-8c28-8a059a2f82ac"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HTML = "text/html; charset=utf-8"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"RETRY_BASE": "30s", "CORS_ORIGINS": "https://app.example.com"}
    system = System(tmp_path_factory.mktemp("result"), settings)
    yield system.start()
    system.stop()


def ask(
    service: Service, path: str, method: str = "GET", accept: str | None = BROWSER, **more: str
) -> requests.Response:
    return requests.request(
        method,
        f"{service.base}{path}",
        headers={"Accept": accept},
        data=more or None,
        timeout=30,
        allow_redirects=False,
    )


def show(service: Service, task_id: str, more: str = "") -> requests.Response:
    return ask(service, f"/check?id={task_id}{more}")


def words(page: requests.Response) -> str:
    """The text of a page."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", page.text)).split())


def test_a_form_leads_to_a_page(service: Service, serve: Serve) -> None:
    url = f"{serve({'/file': BODY}).base}/file"
    posted = ask(service, "/submit", "POST", url=url, urls="", email="", md5="", digests="sha256")
    assert posted.status_code == requests.codes.see_other
    assert re.fullmatch(r"check\?id=[0-9a-f-]{36}", posted.headers["Location"])
    assert posted.headers["Content-Type"] == HTML
    task_id = posted.headers["Location"].partition("=")[2]
    service.wait_for_end(task_id)
    page = requests.get(
        urljoin(posted.url, posted.headers["Location"]), headers={"Accept": BROWSER}, timeout=30
    )
    assert page.status_code == requests.codes.ok
    assert page.headers["Content-Type"] == HTML
    assert MD5 in page.text
    assert f"SHA-256 {hashlib.sha256(BODY).hexdigest()}" in words(page)
    assert "1,280,000 bytes" in words(page)
    assert "Refresh" not in page.headers


@pytest.mark.parametrize("path", ["/submit/", "/check/"])
def test_links_are_relative_to_the_path(service: Service, path: str) -> None:
    answer = ask(service, f"{path}?url=ftp://a.b/", "POST" if "submit" in path else "GET")
    assert 'href="../page/page.css"' in answer.text
    assert 'href="../"' in answer.text
    location = ask(service, "/submit/", "POST", url=f"{service.base}/").headers["Location"]
    assert re.fullmatch(r"\.\./check\?id=[0-9a-f-]{36}", location)


@pytest.mark.parametrize(
    "path", ["/", f"/?id={ID}", "/docs", "/submit", f"/check?id={ID}", "/a/b/c", "/nothing"]
)
def test_links_stay_below_a_prefix(service: Service, path: str) -> None:
    page = ask(service, path)
    links = re.findall(r'(?:href|src|action)="([^"]+)"', page.text)
    assert links
    for link in links:
        found = urljoin(f"http://example.com/a/prefix{path}", link)
        assert found.startswith("http://example.com/a/prefix/"), link
        below = found.removeprefix("http://example.com/a/prefix")
        known = requests.get(f"{service.base}{below}", timeout=30).status_code
        assert known != requests.codes.not_found, link


def test_a_page_is_sent_safely(service: Service) -> None:
    for path, method in ((f"/check?id={ID}", "GET"), ("/submit", "POST")):
        page = ask(service, path, method)
        assert page.headers["Content-Type"] == HTML
        assert page.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none';"
            " base-uri 'none'; frame-ancestors 'none'"
        )
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
        assert "<script" not in page.text


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, */*", ""])
def test_programs_get_the_json_that_they_always_got(
    service: Service, serve: Serve, accept: str | None
) -> None:
    posted = ask(service, "/submit", "POST", accept, url=f"{serve({'/file': BODY}).base}/file")
    assert posted.status_code == requests.codes.accepted
    task_id = posted.json()["id"]
    assert posted.text == f'{{"id":"{task_id}"}}'
    assert posted.headers["Location"] == f"/check?id={task_id}"
    service.wait_for_end(task_id)
    checked = ask(service, f"/check?id={task_id}", accept=accept)
    assert checked.json()["md5"] == MD5
    unknown = ask(service, f"/check?id={ID}", accept=accept)
    assert unknown.json().keys() == {"status", "error"}
    refused = ask(service, "/submit", "POST", accept, url="x")
    assert refused.json()["error"]["field"] == "url"
    assert ask(service, f"/check?id={ID}&refresh=no", accept=accept).status_code == 400
    for answer in (posted, checked, unknown, refused):
        assert answer.headers["Content-Type"] == "application/json"
        assert "Content-Security-Policy" not in answer.headers


def test_negotiated_answers_vary_by_what_is_accepted(service: Service) -> None:
    for path, method, accept in (
        (f"/check?id={ID}", "GET", BROWSER),
        (f"/check?id={ID}", "HEAD", "*/*"),
        ("/submit", "POST", BROWSER),
        ("/submit", "POST", "*/*"),
        ("/nothing", "GET", "*/*"),
    ):
        assert ask(service, path, method, accept).headers["Vary"] == "Accept, Origin"
    assert ask(service, "/health/live").headers["Vary"] == "Origin"


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
@pytest.mark.parametrize("path", [f"/check?id={ID}", "/check", "/nothing"])
def test_head_is_get_without_the_body(service: Service, path: str, accept: str) -> None:
    get = ask(service, path, accept=accept)
    head = ask(service, path, "HEAD", accept)
    assert head.status_code == get.status_code
    assert head.headers == get.headers
    assert int(head.headers["Content-Length"]) == len(get.content) > 0
    assert head.content == b""


def test_every_broken_rule_is_on_the_page(service: Service) -> None:
    page = ask(service, "/submit", "POST", url="ftp://a.b/", email="nobody", md5="1")
    assert page.status_code == requests.codes.bad_request
    text = words(page)
    assert "url must begin with http:// or https://." in text
    assert "email is not an e-mail address that can be written to" in text
    assert "md5 must be 32 hexadecimal digits." in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/export?format=x", 400), ("POST", "/submit", 413)],
)
def test_every_refusal_has_a_page(service: Service, method: str, path: str, status: int) -> None:
    more = {"url": "x" * 70_000} if method == "POST" else {}
    page = ask(service, path, method, **more)
    assert page.status_code == status
    assert page.headers["Content-Type"] == HTML


def test_a_page_keeps_the_headers_of_a_refusal(service: Service) -> None:
    page = ask(service, "/submit")
    assert page.status_code == requests.codes.method_not_allowed
    assert set(page.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert page.headers["Content-Type"] == HTML


def test_an_unknown_task_has_a_page(service: Service) -> None:
    page = show(service, ID)
    assert page.status_code == requests.codes.not_found
    assert "No task has this id." in words(page)


def test_a_running_task_is_refreshed_unless_that_is_stopped(service: Service, serve: Serve) -> None:
    origin = serve({"/file": BODY})
    origin.may_finish.clear()
    task_id = service.submit(f"{origin.base}/file")
    wait_for(lambda: "640,000 of 1,280,000 bytes" in words(show(service, task_id)))
    page = show(service, task_id)
    assert page.status_code == requests.codes.accepted
    assert page.headers["Refresh"] == page.headers["Retry-After"]
    assert '<progress max="1280000" value="640000"' in page.text
    assert f'href="check?id={task_id}&amp;refresh=no"' in page.text
    paused = show(service, task_id, "&refresh=no")
    assert "Refresh" not in paused.headers
    assert f'href="check?id={task_id}"' in paused.text
    assert show(service, task_id, "&refresh=x").status_code == requests.codes.bad_request
    origin.may_finish.set()
    service.wait_for_end(task_id)


def test_a_retry_and_its_reason_are_shown(service: Service) -> None:
    task_id = service.submit(f"http://127.0.0.1:{free_port()}/")
    wait_for(lambda: "retry_at" in service.check(task_id).json())
    page = show(service, task_id)
    assert "The next attempt is at" in words(page)
    assert "The last one failed: " in words(page)
    assert int(page.headers["Refresh"]) > 5


def test_a_failure_a_mismatch_and_a_mail_are_shown(service: Service, serve: Serve) -> None:
    base = serve({"/file": BODY}).base
    failed = service.submit(f"{base}/missing")
    service.wait_for_end(failed)
    page = show(service, failed)
    assert page.status_code == requests.codes.failed_dependency
    assert "Failed: The server answered 404 instead of 200." in words(page)
    differs = service.submit(f"{base}/file", md5=MD5, sha256="0" * 64, email="user@example.com")
    service.wait_for_end(differs)
    assert "It is not what was expected: SHA-256." in words(show(service, differs))
    wait_for(lambda: "The mail has been sent." in words(show(service, differs)))
    same = service.submit(f"{base}/file", md5=MD5)
    service.wait_for_end(same)
    assert "It is what was expected." in words(show(service, same))


def test_a_batch_shows_counts_failures_and_exports(service: Service, serve: Serve) -> None:
    origin = serve({"/one": BODY})
    origin.may_finish.clear()
    lines = [f"{origin.base}/one", *(f"{origin.base}/<b>{n}" for n in range(21))]
    posted = ask(service, "/submit", "POST", url="", urls="\r\n".join(lines))
    task_id = posted.headers["Location"].partition("=")[2]
    wait_for(lambda: "0 of 22 done, 21 failed." in words(show(service, task_id)))
    page = show(service, task_id)
    assert page.status_code == requests.codes.accepted
    assert "Refresh" in page.headers
    origin.may_finish.set()
    service.wait_for_end(task_id)
    page = show(service, task_id)
    text = words(page)
    assert "1 of 22 done, 21 failed." in text
    assert page.text.count("<li>") == 21
    assert f"{lines[1]} : The server answered 404" in text
    assert "and 1 more, see the results" in text
    assert "<b>0" not in page.text
    for name in ("csv", "ndjson", "md5sum", "sts"):
        link = f"export?id={task_id}&format={name}"
        assert f'href="{link.replace("&", "&amp;")}"' in page.text
        assert ask(service, f"/{link}").status_code == requests.codes.ok


def test_what_others_have_chosen_is_escaped(service: Service, serve: Serve) -> None:
    path = "/\"'><script>alert(1)</script>&amp;"
    for files in ({path: BODY}, {}):
        task_id = service.submit(serve(files).base + path)
        service.wait_for_end(task_id)
        page = show(service, task_id)
        assert "<script" not in page.text
        assert path in words(page)
    for query in ("<script>=1", "%ED%A0%80=1", "id=%ED%A0%80%FF"):
        page = ask(service, f"/submit?{query}", "POST", url="<script>")
        assert page.status_code == requests.codes.bad_request
        assert "<script" not in page.text
