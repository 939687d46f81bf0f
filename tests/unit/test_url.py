from contextlib import suppress
from urllib.parse import urlsplit

import idna
import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.errors import InvalidURLError
from tasks.rfc3986 import URLParts
from tasks.url import BAD_PORTS, MAX_URL_BYTES, ascii_authority, parse_url, resolve_url
from tests.growth import assert_linear

ACCEPTED = [
    "http://example.com",
    "https://example.com/",
    "HTTP://EXAMPLE.COM/File",
    "https://example.com:8443/a?b=c&d=%20#e",
    "http://example.com:00080/",
    "http://example.com./",
    "http://localhost/",
    "http://my_host.example.com/",
    "http://_dmarc.example.com/",
    "http://a--b.example.com/",
    "http://name-.example/",
    "http://-name.example/",
    "http://a.-b-.example/",
    "http://-/",
    "http://1-.example/",
    "http://example.com:/x",
    "https://example.com:",
    "http://example.com:?x",
    "http://[::1]:/",
    "http://example.com?",
    "http://example.com/?#",
    "http://example.com/\u0646\u200c\u0647",  # joiners belong to the spelling
    "http://example.com/\U0001f468\u200d\U0001f469",
    "http://xn--bcher-kva.example/",
    "http://b\xfccher.example/",
    "http://\u4f8b\u3048.jp/\u4f60?\u597d=1",
    "http://example.com/\U0001f600",
    "http://example.com/100%",
    "http://example.com/[a]{b}|c^`\"<>'",
    "http://example.com/a@b:c",
    "http://example.com?u@v",
    "http://192.0.2.1/",
    "http://127.0.0.1:65535/",  # whether it may be reached is the guard's question
    "http://[::1]/",
    "http://[2001:db8::1]:8080/x",
    "http://[::ffff:192.0.2.1]/",
    "http://1.example.com/",
    "http://0x7f.example/",
    f"http://{'a' * 63}.example/",
    f"http://{'.'.join(['a' * 61] * 4)}.abcd/",  # 252 characters
]

REFUSED = {
    "scheme": [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/plain,a",
        "httpx://example.com/",
    ],
    "userinfo": [
        "http://user@example.com/",
        "http://user:pass@example.com/",
        "http://@example.com/",
        "http://:@example.com/",
        "http://example.com:80@192.0.2.1/",
        "http://a@b@example.com/",
    ],
    "characters": [
        " http://example.com/",
        "http://example.com/ ",
        "http://example.com/a b",
        *(f"http://example.com/a{chr(code)}b" for code in (0, 1, 9, 10, 13, 31, 127, 128, 159)),
        "http://exam\tple.com/",
        "ht\ntp://example.com/",
        "\x01http://example.com/",
        *(f"http://example.com/{char}" for char in "\xa0\u2003\u200b\u2028\u2029\u3000\ufeff"),
        *(
            f"http://example.com/{chr(code)}gpj.exe"
            for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
        ),
        *(f"http://example.com/?{char}" for char in "\u2060\u2064\u206a\u206f\ufff9\ufffb"),
        "http://ex\u202eample.com/",
        "http://example.com/\ud800",
        "http://\udcff.example/",
        "http://example.com/\udfff",
    ],
    "backslash": [
        "http:\\\\example.com\\",
        "http://example.com\\@192.0.2.1/",
        "http://192.0.2.1\\example.com/",
        "http://example.com/a\\b",
    ],
    "numeric host": [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0X7F000001/",
        "http://0177.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0x/",
        "http://1.2.3.4./",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://1.2.3.04/",
        "http://0x7f.0.0.1/",
        "http://127.0.0.0x1/",
        "http://example.1/",
        "http://127%2e0%2e0%2e1/",
        "http://%31%32%37.0.0.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://\u2460.0.0.1/",
    ],
    "IPv6": [
        "http://[fe80::1%eth0]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://::1/",
        "http://::1]/",
        "http://[]/",
        "http://[::g]/",
        "http://[192.0.2.1]/",
        "http://[example.com]/",
        "http://[v1.a]/",
        "http://[::1]x/",
        "http://x[::1]/",
        "http://[::1]]/",
        "http://[[::1]/",
        "http://[::1][::1]/",
    ],
    "host": [
        "http:",
        "http://",
        "http:///",
        "http:///path",
        "http:example.com",
        "http:/example.com",
        "http://?a",
        "http://#a",
        "http://:80/",
        "http://:/",
        "http://-.1/",
        "http://./",
        "http://../",
        "http://.example.com/",
        "http://a..example.com/",
        "http://example.com../",
        "http://*.example.com/",
        "http://a,b.example.com/",
        "http://a%20b.example.com/",
        "http://a!b/",
        f"http://{'a' * 64}.example/",
        f"http://{'.'.join(['a' * 62] * 4)}.abc/",  # 255 characters
        "http://\xfc-.example/",
        "http://\u2603.example/",  # no letter, so not IDNA 2008
        "http://a\u2100b.example/",
        "http://{}.example/".format("\xfc" * 64),
    ],
    "port": [
        "http://example.com:0/",
        "http://example.com:00/",
        "http://example.com:65536/",
        "http://example.com:99999/",
        "http://example.com:123456/",
        "http://example.com:-1/",
        "http://example.com:+80/",
        "http://example.com:8_0/",
        "http://example.com:http/",
        "http://example.com:80:80/",
        "http://example.com:\u0668\u0660/",
        "http://[::1]:0/",
        "https://example.com:25/",
        "http://example.com:022/",
    ],
    "length": [
        "http://example.com/".ljust(MAX_URL_BYTES + 1, "a"),
        "http://example.com/" + "\U0001f600" * 2044,
        "http://example.com/?" + "\u3042" * 2725,
        f"http://{'a' * 1025}/",
        "http://" + "\u0301" * 513 + ".example/",
        f"http://example.com:{'1' * 1020}/",
    ],
}


@pytest.mark.parametrize("url", ACCEPTED)
def test_accepted_as_given(url: str) -> None:
    assert parse_url(url) == url


@pytest.mark.parametrize(
    "url",
    [pytest.param(url, id=f"{rule}-{url!a:.60}") for rule in REFUSED for url in REFUSED[rule]],
)
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidURLError):
        parse_url(url)


@pytest.mark.parametrize("port", sorted(BAD_PORTS))
def test_port_of_another_protocol_is_refused(port: int) -> None:
    with pytest.raises(InvalidURLError, match=f"port {port}"):
        parse_url(f"http://example.com:{port}/")


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u3042", "\U0001f600"])
def test_longest_url_is_accepted(letter: str) -> None:
    size = len("http://example.com/")
    count, rest = divmod(MAX_URL_BYTES - size, len(letter.encode()))
    url = f"http://example.com/{'a' * rest}{letter * count}"
    assert len(url.encode()) == MAX_URL_BYTES
    assert parse_url(url) == url


MARKS = "\u0301" * 70_000 + "\u0316" * 70_000


@pytest.mark.parametrize(
    "reference",
    [
        f"http://a{MARKS}.com/",
        f"HTTPS://a{MARKS}",
        f"//a{MARKS}.com/",
        f"ftp://{MARKS}",
        f"x+y-z.0://{MARKS}?a",
        f"http://{MARKS[:2000]}/",
        f"//{MARKS[:2000]}#",
        f"http://user{MARKS[:2000]}@example.com/",
        f"http://[{MARKS[:2000]}]/",
        f"/{MARKS}",
        f"?{MARKS}",
        "/" * 10_000,
        "../" * 100_000,
    ],
    ids=range(13),
)
def test_long_url_is_refused_for_its_length(reference: str) -> None:
    with pytest.raises(InvalidURLError, match="longer than"):
        parse_url(reference)
    with pytest.raises(InvalidURLError, match="longer than"):
        resolve_url("http://example.com/a", reference)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://me@example.com/", "user name"),
        ("http://a\\b", "backslash"),
        ("http://a b", "white space"),
        ("ftp://a", "http://"),
        ("http://127.1/", "four decimal"),
        ("http://[fe80::1%eth0]/", "IPv6"),
        ("http:///", "host"),
    ],
)
def test_message_says_which_rule_is_broken(url: str, rule: str) -> None:
    with pytest.raises(InvalidURLError, match=rule):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://example.com/", "example.com"),
        ("http://Example.COM.:8080/", "Example.COM.:8080"),
        ("http://example.com:80/", "example.com"),
        ("HTTP://example.com:00080/", "example.com"),
        ("https://example.com:443", "example.com"),
        ("https://example.com:80", "example.com:80"),
        ("http://example.com:08080?", "example.com:8080"),
        ("http://example.com:/", "example.com"),
        ("http://[2001:DB8::1]:80/", "[2001:DB8::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://B\xdcCHER.Example.:81/", "xn--bcher-kva.example.:81"),
    ],
)
def test_authority_is_encoded_as_ascii(url: str, authority: str) -> None:
    assert ascii_authority(URLParts.of(parse_url(url))) == authority


def _bare_host(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return host if host.isascii() else idna.encode(host, uts46=True).decode()


_CHARACTERS = st.characters() | st.sampled_from("%[]@:?#\\/._-~xX0123456789")
_HOSTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_.\-]{1,30}", fullmatch=True),
    st.text(_CHARACTERS, min_size=1, max_size=12),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.sampled_from(["b\xfccher.example", "\uff21.example", "stra\xdfe.de", "B\xdcCHER.example"]),
)
_URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    _HOSTS,
    st.sampled_from(["", ":", ":80", ":8080", ":443"]),
    st.just("") | st.text(_CHARACTERS, max_size=30).map("/{}".format),
)


@given(_URLS)
@example("http://\uff21.example/")
@example("http://stra\xdfe.example/")
@example("http://b\xfccher\u3002example/")
def test_accepted_url_means_the_same_to_requests(text: str) -> None:
    try:
        url = parse_url(text)
    except InvalidURLError:
        return
    prepared = requests.Request("GET", url).prepare()
    assert prepared.url is not None
    assert _bare_host(prepared.url) == _bare_host(url)
    assert (urlsplit(prepared.url).port or 0) == (urlsplit(url).port or 0)


@given(st.text(_CHARACTERS, max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        assert parse_url(text) == text
    except InvalidURLError as error:
        assert str(error)  # noqa: PT017


ALPHABETS = [
    "a",
    "/",
    "../",
    "%",
    ".",
    "[",
    "\\",
    ":",
    "@",
    "?",
    "#",
    "&",
    "\u0301",
    "\U0001f600",
    "\xfc",
]


@pytest.mark.parametrize(
    "prefix", ["http://", "http://a.example/", "//", "", "?", "http://[", "a:"]
)
@pytest.mark.parametrize("letter", ALPHABETS)
def test_time_is_linear(prefix: str, letter: str) -> None:
    """Up to and beyond the limit, for a URL that is submitted or that a redirect leads to."""

    def work(size: int) -> None:
        text = prefix + letter * (size // len(letter.encode()))
        for parse in (parse_url, lambda text: resolve_url("http://example.com/a", text)):
            with suppress(InvalidURLError):
                parse(text)

    assert_linear(work, largest=2**18)
