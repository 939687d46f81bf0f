"""Cookies live as long as one download, and go back only to the host that set them."""

import hashlib
import socket
import subprocess
from collections.abc import Callable
from email.utils import formatdate

import pytest

from devtools.servers.raw_origin import Peer, RawOrigin, redirect, reply, reset
from fetch.cookies import MAX_COOKIES, MAX_HEADER_BYTES, CookieJar
from tasks.failure import FailureCode
from tests.growth import assert_linear
from tests.unit.fetch.fetching import Fetch

Originate = Callable[..., RawOrigin]

BODY = b"behind the wall"
URL = "http://files.example/a/b"


def cookies(request: bytes) -> list[bytes]:
    return [line for line in request.split(b"\r\n") if line.startswith(b"Cookie:")]


def wall(peer: Peer) -> None:
    """Redirect to the same URL until the cookie comes back."""
    if cookies(peer.origin.requests[-1]):
        peer.send(reply(BODY))
    else:
        peer.send(reply(b"", "Location: /f", "Set-Cookie: seen=1; Path=/", status="302 Found"))


def sent(url: str, *headers: str, at: str = URL) -> str:
    """The Cookie header of a request for a URL, after an answer from another one."""
    jar = CookieJar()
    jar.store(at, headers)
    return jar.header(url)


class TestDownload:
    def test_cookie_wall(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([wall])
        assert fetch(f"{origin.base}/f").md5 == hashlib.md5(BODY).hexdigest()
        assert list(map(cookies, origin.requests)) == [[], [b"Cookie: seen=1"]]

    def test_cookie_wall_with_curl(self, originate: Originate, curl: str) -> None:
        command = [curl, "-sfL", "-b", "", f"{originate([wall]).base}/f"]
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == BODY

    def test_cookies_end_with_their_download(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([wall])
        for _ in range(2):
            fetch(f"{origin.base}/f")
        assert list(map(cookies, origin.requests)) == [[], [b"Cookie: seen=1"]] * 2

    def test_loop_that_sets_cookies_ends(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([reply(b"", "Location: /", "Set-Cookie: a=b", status="302 Found")])
        assert fetch.code(origin.base) is FailureCode.TOO_MANY_REDIRECTS

    def test_resume_sends_them_too(self, originate: Originate, fetch: Fetch) -> None:
        headers = ('ETag: "1"', "Accept-Ranges: bytes", "Set-Cookie: session=x")
        rest = reply(BODY[5:], f"Content-Range: bytes 5-{len(BODY) - 1}/{len(BODY)}",
                     'ETag: "1"', status="206 Partial Content")  # fmt: skip
        origin = originate([reply(BODY, *headers)[:-10], reset], [rest])
        assert fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()
        assert cookies(origin.requests[1]) == [b"Cookie: session=x"]

    def test_cookies_are_not_sent_to_another_host(
        self, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([])
        target = f"http://b.example:{origin.port}/"
        origin.scripts = [
            [reply(b"", f"Location: {target}", "Set-Cookie: a=b; Domain=example", status="302 X")],
            [reply(BODY)],
        ]

        def look_up(*_args: object, **_kwargs: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", origin.port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        fetch(f"http://a.example:{origin.port}/")
        assert list(map(cookies, origin.requests)) == [[], []]

    @pytest.mark.parametrize(
        "header",
        [
            "Set-Cookie2: " + "a," * 100_000,
            "Set-Cookie: a=b\r\nX-Injected: c",
            "Set-Cookie: a=b\rX-Injected: c",
            "Set-Cookie: a=\x01",
            "Set-Cookie: a\x7f=b",
            "Set-Cookie: =b",
            "Set-Cookie: a",
            "Set-Cookie: ",
            "Set-Cookie: ;;;=;",
            "Set-Cookie: \xa0a=b",
            "Set-Cookie: \x85a=b",
        ],
    )
    def test_hostile_header(self, header: str, originate: Originate, fetch: Fetch) -> None:
        origin = originate(
            [redirect("/f")[:-2] + header.encode("latin-1") + b"\r\n\r\n"], [reply(BODY)]
        )
        assert fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()
        assert b"X-Injected" not in origin.requests[1]
        assert cookies(origin.requests[1]) in ([], [b"Cookie: a=b"])


class TestScope:
    @pytest.mark.parametrize(
        ("url", "is_sent"),
        [
            ("http://files.example/a/b", True),
            ("http://FILES.example/a/", True),
            ("http://files.example:8080/a/x?y", True),  # RFC 6265 § 8.5: ports do not separate
            ("https://files.example/a/x", True),
            ("http://files.example/a", True),
            ("http://files.example/ab", False),
            ("http://files.example/", False),
            ("http://files.example/b/../a/c", True),
            ("http://files.example./a/b", False),
            ("http://www.files.example/a/b", False),
            ("http://example/a/b", False),
            ("http://xfiles.example/a/b", False),
        ],
    )
    def test_host_and_default_path(self, url: str, is_sent: bool) -> None:  # noqa: FBT001
        assert sent(url, "x=y") == ("x=y" if is_sent else "")

    @pytest.mark.parametrize(
        ("path", "url", "is_sent"),
        [
            ("/", "http://files.example", True),
            ("/c", "http://files.example/c", True),
            ("/c", "http://files.example/c/d", True),
            ("/c/", "http://files.example/c/d", True),
            ("/c/", "http://files.example/c", False),
            ("/c", "http://files.example/cd", False),
            ("c", "http://files.example/a/x", True),
            ("", "http://files.example/a/x", True),
        ],
    )
    def test_path(self, path: str, url: str, is_sent: bool) -> None:  # noqa: FBT001
        assert sent(url, f"x=y; Path={path}") == ("x=y" if is_sent else "")

    @pytest.mark.parametrize(
        ("domain", "is_kept"),
        [
            ("files.example", True),
            (".FILES.example", True),
            ("example", True),
            ("", True),
            ("other.example", False),
            ("iles.example", False),
            ("www.files.example", False),
        ],
    )
    def test_domain(self, domain: str, is_kept: bool) -> None:  # noqa: FBT001
        assert sent(URL, f"x=y; Domain={domain}") == ("x=y" if is_kept else "")

    @pytest.mark.parametrize("host", ["127.0.0.1:81", "[::1]", "[::1]:81"])
    def test_address(self, host: str) -> None:
        url = f"http://{host}/a"
        assert sent(url, "x=y", at=url) == "x=y"
        assert sent("http://[::2]/a", "x=y", at=url) == ""

    def test_secure(self) -> None:
        at = URL.replace("http", "https")
        assert sent(at, "x=y; Secure", at=at) == "x=y"
        assert sent(URL, "x=y; Secure", at=at) == ""
        assert sent(at, "x=y; secure") == ""


class TestLife:
    @pytest.mark.parametrize(
        ("attributes", "is_kept"),
        [
            ("", True),
            ("Max-Age=60", True),
            ("Max-Age=99999999999999999999", True),
            ("Max-Age=0", False),
            ("max-age=-1", False),
            ("Max-Age=soon", True),
            (f"Expires={formatdate(2**32, usegmt=True)}", True),
            ("Expires=Wed, 21 Oct 2015 07:28:00 GMT", False),
            ("expires=Wed, 21-Oct-15 07:28:00 GMT", False),
            ("Expires=Thu, 01-Jan-1970 00:00:01 GMT", False),
            ("Expires=yesterday", True),
            (f"Expires={' ' * 1000}Wed, 21 Oct 2015", True),
            ("Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=60", True),
            ("HttpOnly; SameSite=Strict; Partitioned; Priority=High", True),
        ],
    )
    def test_expiry(self, attributes: str, is_kept: bool) -> None:  # noqa: FBT001
        assert sent(URL, f"x=y; {attributes}") == ("x=y" if is_kept else "")

    def test_cookie_expires_during_the_download(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("fetch.cookies.time.monotonic", lambda: now)
        jar = CookieJar()
        jar.store(URL, ["x=y; Max-Age=60"])
        now += 59
        assert jar.header(URL) == "x=y"
        now += 1
        assert jar.header(URL) == ""

    def test_new_value_replaces_the_old_one(self) -> None:
        assert sent(URL, "x=1", "x=2; Max-Age=9") == "x=2"
        assert sent(URL, "x=1", "x=; Max-Age=0") == ""
        assert sent(URL, "x=1; Path=/a", "x=2; Path=/") == "x=1; x=2"


class TestForm:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("x=y", "x=y"),
            (" x = y z ; a", "x=y z"),
            ('x="y"', 'x="y"'),
            ("x=", "x="),
            ("x=y=z", "x=y=z"),
            ("x=\xe4", "x=\xe4"),
            ("x=a,b", "x=a,b"),
            ("x=a\tb", ""),
            ("x", ""),
            ("=y", ""),
            (";x=y", ""),
            ("x=" + "y" * 4095, "x=" + "y" * 4095),
            ("x=" + "y" * 4096, ""),
        ],
    )
    def test_pair(self, header: str, expected: str) -> None:
        assert sent(URL, header) == expected

    def test_number_and_size_are_bounded(self) -> None:
        jar = CookieJar()
        jar.store(URL, [f"x{number}=y" for number in range(3 * MAX_COOKIES)])
        assert jar.header(URL).count("=") == MAX_COOKIES
        assert f"x{3 * MAX_COOKIES - 1}=y" in jar.header(URL)
        jar.store(URL, [f"x{number}={'y' * 4000}" for number in range(3 * MAX_COOKIES)])
        assert len(jar.header(URL)) <= MAX_HEADER_BYTES

    @pytest.mark.parametrize("letter", [";", "=", "a=b;", ";a", " ", "\t", '"', ",", "\xcc\x81"])
    @pytest.mark.parametrize(
        "prefix",
        ["", "a=", "a=b;", "a=b; Expires=", "a=b; Max-Age=", "a=b; Domain=", "a=b; Path=/"],
    )
    def test_time_is_linear(self, prefix: str, letter: str) -> None:
        def work(size: int) -> None:
            jar = CookieJar()
            jar.store(URL, [prefix + letter * (size // len(letter))])
            jar.header(URL)

        assert_linear(work, largest=2**18)

    def test_time_is_linear_in_the_number_of_headers(self) -> None:
        def work(size: int) -> None:
            jar = CookieJar()
            jar.store(URL, [f"{number}=b" for number in range(size // 8)])
            jar.header(URL)

        assert_linear(work, largest=2**18)
