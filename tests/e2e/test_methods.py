"""HEAD, OPTIONS and wrong methods, and what pages of other sites may ask."""

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.system import Service

ID = "0e4fac17-f367-4807-8c28-8a059a2f82ac"
GET_PATHS = (
    "/",
    "/page/page.js",
    "/docs",
    "/docs/openapi.json",
    f"/check?id={ID}",
    "/check",
    "/health/live",
    "/health/ready",
)
SITE = "https://app.example.com"
OTHER = "https://other.example.com"
TOKEN = "a-token-of-the-tests"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,idempotency-key",
}


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    return open_system.start_service()


@pytest.fixture(scope="module")
def shared(open_system: System) -> Service:
    """With a site that may use it, and a token that it needs."""
    return open_system.start_service(
        CORS_ORIGINS=f"https://another.example.com,{SITE}", API_TOKENS=TOKEN
    )


def ask(service: Service, method: str, path: str, **headers: str) -> requests.Response:
    return requests.request(method, f"{service.base}{path}", headers=headers, timeout=10)


def allowed(response: requests.Response) -> set[str]:
    return set(response.headers["Allow"].split(", "))


def cors_headers(response: requests.Response) -> set[str]:
    return {name for name in response.headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", GET_PATHS)
def test_head_is_get_without_the_body(service: Service, path: str) -> None:
    get, head = ask(service, "GET", path), ask(service, "HEAD", path)
    assert head.status_code == get.status_code
    assert head.headers == get.headers
    assert int(head.headers["Content-Length"]) == len(get.content) > 0
    assert head.content == b""


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        *((path, {"GET", "HEAD", "OPTIONS"}) for path in GET_PATHS if "/check" not in path),
        ("/docs/", {"GET", "HEAD", "OPTIONS"}),
        ("/check", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("/submit", {"POST", "OPTIONS"}),
    ],
)
def test_options_lists_the_methods_of_every_path(
    service: Service, path: str, methods: set[str]
) -> None:
    options = ask(service, "OPTIONS", path, Origin=SITE, **PREFLIGHT)
    assert options.status_code == requests.codes.no_content
    assert options.content == b""
    assert allowed(options) == methods
    assert cors_headers(options) == set()
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"} - methods:
        refused = ask(service, method, path)
        assert refused.status_code == requests.codes.method_not_allowed, method
        assert allowed(refused) == methods
        assert refused.json()["error"]["code"] == "method_not_allowed"


def test_no_path_has_no_methods(service: Service) -> None:
    assert ask(service, "OPTIONS", "/nothing").status_code == requests.codes.not_found


def test_other_sites_are_not_let_in_by_themselves(service: Service) -> None:
    response = ask(service, "GET", "/health/live", Origin=SITE)
    assert cors_headers(response) == set()
    assert "Vary" not in response.headers


def test_a_preflight_is_answered_without_a_token(shared: Service) -> None:
    response = ask(shared, "OPTIONS", "/submit", Origin=SITE, **PREFLIGHT)
    assert response.status_code == requests.codes.no_content
    assert response.headers["Access-Control-Allow-Origin"] == SITE
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    check = ask(shared, "OPTIONS", "/check", Origin=SITE, **PREFLIGHT)
    assert "DELETE" in check.headers["Access-Control-Allow-Methods"]
    names = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(names) == {"authorization", "content-type", "idempotency-key", "prefer"}
    assert response.headers["Vary"] == "Origin"


def test_only_a_preflight_is_answered_without_a_token(shared: Service) -> None:
    for method, headers in (
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": SITE}),
        ("OPTIONS", {"Access-Control-Request-Method": "POST"}),
        ("POST", {"Origin": SITE, **PREFLIGHT}),
    ):
        response = ask(shared, method, "/submit", **headers)
        assert response.status_code == requests.codes.unauthorized, (method, headers)


def test_a_site_that_may_reads_every_answer(shared: Service) -> None:
    authorized = {"Origin": SITE, "Authorization": f"Bearer {TOKEN}"}
    for path, status, headers in (
        (f"/check?id={ID}", 404, authorized),
        ("/check", 400, authorized),
        ("/submit", 405, authorized),
        ("/check", 401, {"Origin": SITE}),
        ("/nothing", 404, authorized),
    ):
        response = ask(shared, "GET", path, **headers)
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == SITE
        assert "Origin" in response.headers["Vary"].split(", ")
        exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
        assert exposed == {"Content-Location", "Location", "Preference-Applied", "Retry-After"}
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", [OTHER, "null", f"{SITE}.evil.example", None])
def test_unlisted_sites_get_no_cors_headers(shared: Service, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    for method, more in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        response = ask(shared, method, "/health/live", **headers, **more)
        assert cors_headers(response) == set()
        assert response.headers["Vary"] == "Origin"


def test_every_site_may(open_system: System) -> None:
    response = ask(open_system.start_service(CORS_ORIGINS="*"), "GET", "/health/live", Origin=OTHER)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in response.headers
