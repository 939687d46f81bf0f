"""Whatever an origin sends: the digest of what a correct reader reads, or a failure."""

import gzip
import hashlib
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from devtools.servers.raw_origin import (
    CHUNKED,
    RawOrigin,
    Script,
    chunked,
    forever,
    redirect,
    reply,
    reset,
    stall,
)
from devtools.waiting import PATIENCE
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.transport import Transport
from settings import VERSION
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]

BODY = bytes(range(256)) * 40
ZIPPED = gzip.compress(BODY, mtime=0)
OK = b"HTTP/1.1 200 OK\r\n"
UNTIL_CLOSED = OK + b"Connection: close\r\n\r\n"


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@dataclass(frozen=True)
class Case:
    """What an origin sends, and what comes of it: a body, or a failure.

    `curl` is the body that `curl -sf` takes where we fail: the whole list of those exceptions.
    It guesses what two readers could read differently, and takes any 2xx and 3xx for the file.
    """

    name: str
    script: Script
    expected: bytes | FailureCode
    is_length_verified: bool = True
    is_permanent: bool = True
    curl: bytes | None = None


def good(name: str, *script: bytes, body: bytes = BODY) -> Case:
    return Case(name, script, body)


def uncut(name: str, *script: bytes, body: bytes = BODY) -> Case:
    return Case(name, script, body, is_length_verified=False)


def cut(name: str, *script: bytes | Callable[..., object], curl: bytes | None = None) -> Case:
    return Case(name, script, FailureCode.INCOMPLETE_BODY, is_permanent=False, curl=curl)


def bad(name: str, *script: bytes | Callable[..., object], curl: bytes | None = None) -> Case:
    return Case(name, script, FailureCode.PROTOCOL_ERROR, curl=curl)


def status(line: str, *, is_permanent: bool, curl: bytes | None = None) -> Case:
    script = [reply(b"no", status=line)]
    return Case(
        f"status {line}", script, FailureCode.HTTP_STATUS, is_permanent=is_permanent, curl=curl
    )


CASES = [
    # Bodies.
    good("empty file", reply(b""), body=b""),
    good("empty chunked file", CHUNKED + b"0\r\n\r\n", body=b""),
    uncut("empty file without length", UNTIL_CLOSED, body=b""),
    good("stated length", reply(BODY)),
    good("the same length twice", reply(BODY, f"Content-Length: {len(BODY)}")),
    good("a list of the same length", OK + b"Content-Length: 2, 2\r\n\r\nhi", body=b"hi"),
    good("more than the stated length", reply(BODY) + b"more"),
    good("in pieces", reply(BODY)[:20], reply(BODY)[20:100], reply(BODY)[100:]),
    good("chunked", CHUNKED + chunked(BODY[:5], BODY[5:500], BODY[500:])),
    good("chunk extensions", CHUNKED + b'2;a="b"\r\nhi\r\n0;c\r\n\r\n', body=b"hi"),
    good("chunk size with zeros", CHUNKED + b"000002\r\nhi\r\n000\r\n\r\n", body=b"hi"),
    good("chunk size in capitals", CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", body=b"0123456789"),
    good("trailers", CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", body=b"hi"),
    good("a million one-byte chunks", CHUNKED + chunked(*[b"x"] * 10**6), body=b"x" * 10**6),
    good("small chunks in odd spellings",
         CHUNKED + b"1\r\nx\r\n" * 9 + b"1 ;a\r\ny\n02\nhi\r\n0\r\n\r\n", body=b"x" * 9 + b"yhi"),
    uncut("no length", UNTIL_CLOSED + BODY),
    uncut("no length, HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
    uncut("identity", OK + b"Transfer-Encoding: identity\r\n\r\n" + BODY),
    good("gzip is kept", reply(ZIPPED, "Content-Encoding: gzip"), body=ZIPPED),
    good("gzip that is none", reply(b"hi", "Content-Encoding: gzip"), body=b"hi"),
    good("unknown coding", reply(b"hi", "Content-Encoding: zebra, br"), body=b"hi"),
    # Headers.
    good("no reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", body=b"hi"),
    good("line feeds only", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", body=b"hi"),
    *(good(f"an odd header {line!r}", OK + line + b"\r\nContent-Length: 2\r\n\r\nhi", body=b"hi")
      for line in (
          b"X Foo: bar", b"Content-Type : text/plain", b": x", b"caf\xe9: x", b"a\x01b: c",
          b"(x): y", b"X-Content-Length: 7", b"Content-Length-X: 7", b"\xd0\xbe: Content-Length",
          b"X Foo: bar\r\n folded: into it", b"a@b: Transfer-Encoding: gzip",
          b"X-A: b\rc", b"X-A: b\rX-Content-Length: 7", b"X-A: Content-Length: 7",
          b"X-A: b\x0c, Content-Length", b"ETag : x", b"Content_Encoding: gzip", b"Location : /x",
          b"ContentLength: 7", b"Content_Length: 7", b"Content.Length: 7", b"contentLength: x",
          b"Transfer_Encoding: chunked", b"Content_Range: bytes 3-4/5",
      )),
    good("1,900 header lines", OK + b"a:\r\n" * 1900 + b"Content-Length: 2\r\n\r\nhi", body=b"hi"),
    *(good(f"chunked as {lines!r}", OK + lines + b"\r\n\r\n" + chunked(b"hi"), body=b"hi")
      for lines in (
          b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
          b"Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked\r\ntransfer-encoding: chunked",
          b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
          b"Transfer-Encoding: , chunked",
          b"Transfer-Encoding: chunked,\r\nContent-Length: 7",
      )),
    good("a folded header", OK + b"X-A: b\r\n  c\r\nContent-Length: 2\r\n\r\nhi", body=b"hi"),
    good("bytes that are not ASCII", reply(BODY, "X-Name: caf\xe9", "Set-Cookie: \xff=\xfe")),
    good("a header line of 70 KB", reply(BODY, "X-Long: " + "x" * 70_000)),
    good("150 headers", reply(BODY, *(f"X-{n}: {n}" for n in range(150)))),
    good("interim responses", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 3 + reply(BODY)),
    good("100 Continue", b"HTTP/1.1 100 Continue\r\n\r\n" + reply(BODY)),
    good("a length in an interim response",
         b"HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\n" + reply(BODY)),
    # Bodies cut short.
    cut("no answer"),
    cut("reset before the answer", reset),
    cut("end in the status line", b"HTTP/1.1 20"),
    cut("end after the status line", OK, curl=b""),
    cut("end in a header", OK + b"Content-Le", curl=b""),
    cut("end after a header", OK + b"Content-Length: 0\r\n", curl=b""),
    cut("end before the blank line is whole", OK + b"Content-Length: 0\r\n\r", curl=b""),
    cut("end after an interim response", b"HTTP/1.1 100 Continue\r\n\r\n"),
    cut("a byte less than stated", reply(BODY)[:-1]),
    cut("nothing of what is stated", reply(BODY)[: -len(BODY)]),
    cut("a reset in the body", reply(BODY)[:-1], reset),
    cut("a reset in a body without length", UNTIL_CLOSED + BODY, reset),
    cut("a reset in a chunk", CHUNKED + b"5\r\nhi", reset),
    cut("end in a chunk", CHUNKED + b"5\r\nhi"),
    cut("end in a chunk's size", CHUNKED + b"2\r\nhi\r\n1"),
    cut("end after a chunk", CHUNKED + b"2\r\nhi\r\n"),
    cut("end right after a chunk", CHUNKED + b"2\r\nhi"),
    cut("end before the last chunk's end", CHUNKED + b"2\r\nhi\r\n0\r\n"),
    cut("end in the last chunk's size", CHUNKED + b"2\r\nhi\r\n0"),
    cut("end in a trailer", CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n"),
    # Bodies framed badly.
    bad("chunk size that is none", CHUNKED + b"zz\r\nhi\r\n0\r\n\r\n"),
    bad("empty chunk size", CHUNKED + b"\r\nhi\r\n0\r\n\r\n"),
    bad("negative chunk size", CHUNKED + b"-5\r\nhi\r\n0\r\n\r\n"),
    bad("signed chunk size", CHUNKED + b"+2\r\nhi\r\n0\r\n\r\n"),
    bad("chunk size in Python's way", CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n"),
    bad("chunk size with an underscore", CHUNKED + b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"),
    bad("overlong chunk size", CHUNKED + b"f" * 17 + b"\r\nhi\r\n0\r\n\r\n"),
    bad("endless chunk size", CHUNKED, forever(b"0" * 1000)),
    bad("endless chunk extension", CHUNKED + b"2;", forever(b"x" * 1000)),
    bad("chunk longer than stated", CHUNKED + b"2\r\nhi!\r\n0\r\n\r\n"),
    bad("chunk without an end", CHUNKED + b"2\r\nhi0\r\n\r\n"),
    bad("two lengths", reply(b"hi", "Content-Length: 3")),
    bad("two lengths in a list", OK + b"Content-Length: 2, 3\r\n\r\nhi", curl=b"hi"),
    bad("negative length", OK + b"Content-Length: -5\r\n\r\nhi"),
    bad("signed length", OK + b"Content-Length: +2\r\n\r\nhi", curl=b"hi"),
    bad("length that is none", OK + b"Content-Length: abc\r\n\r\nhi"),
    bad("length in Python's way", OK + b"Content-Length: 1_0\r\n\r\n0123456789",
        curl=b"0"),
    bad("empty length", OK + b"Content-Length: \r\n\r\nhi"),
    bad("length after a separator", OK + b"Content-Length: \x1c2\r\n\r\nhi"),
    bad("length between carriage returns", OK + b"Content-Length: \r 2\r\r\n\r\nhi", curl=b"hi"),
    bad("transfer coding after a form feed",
        OK + b"Transfer-Encoding: \fchunked\r\n\r\n" + chunked(b"hi")),
    bad("overlong length", OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhi", curl=b"hi"),
    bad("gzip as a transfer coding",
        OK + b"Transfer-Encoding: gzip\r\nConnection: close\r\n\r\n" + ZIPPED,
        curl=BODY),
    bad("gzip below chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(ZIPPED),
        curl=BODY),
    bad("chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(b"hi"),
        curl=b"hi"),
    *(bad(f"chunked below identity in {lines!r}",
          OK + lines + b"\r\n\r\n" + chunked(b"hi"), curl=b"hi")
      for lines in (
          b"Transfer-Encoding: chunked, identity",
          b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
      )),
    *(bad(f"more than the length beside {coding!r}",
          OK + coding + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi!", curl=b"hi!")
      for coding in (b"Transfer-Encoding: identity", b"Transfer-Encoding:")),
    good("a length beside identity",
         OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", body=b"hi"),
    bad("unknown transfer coding", OK + b"Transfer-Encoding: x\r\n\r\nhi"),
    good("length and chunked",
         OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hi"),
         body=b"hi"),
    # Headers that are none.
    bad("HTTP/0.9", b"<html>hello</html>\n"),
    bad("HTTP/2", b"HTTP/2 200\r\n\r\nhi", curl=b"hi"),
    bad("another protocol", b"220 mail.example.com ESMTP\r\n"),
    bad("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    *(bad(f"a carriage return in the name {name!r}",
          OK + name + b": b\r\nContent-Length: 2\r\n\r\nhi",
          curl=b"Content-Length: 2\r\n\r\nhi" if name.startswith(b"\r") else None)
      for name in (b"\rX-A", b"\r", b"\r X-A", b"X-\rA", b"X-A\r")),
    *(good(f"the range {value!r} in another unit than bytes",
           OK + b"Content-Range: " + value + b"\r\nContent-Length: 2\r\n\r\nhi", body=b"hi")
      for value in (b"0-14/*", b"items 0-9/100", b"*/0", b"", b"x")),
    bad("a header line without a colon", OK + b"nonsense\r\nContent-Length: 2\r\n\r\nhi"),
    *(bad(f"a framing header spelled {spelling!r}",
          OK + spelling + b": 2\r\n\r\nhi", curl=b"hi")
      for spelling in (
          b"Content-Length ", b"Content-Length\t", b" Content-Length", b"\tContent-Length",
          b"Content_Length ", b"CONTENT LENGTH", b"Content-Length\x0b", b"\x0cContent-Length",
          b"Content-Length\xa0", b"Content\rLength", b'"Content-Length"', b"Content-Length=",
      )),
    *(bad(f"a coding header spelled {spelling!r}",
          OK + b"Content-Length: 12\r\n" + spelling + b": chunked\r\n\r\n" + chunked(b"hi"),
          curl=chunked(b"hi"))
      for spelling in (
          b"Transfer-Encoding ", b"Transfer_Encoding ", b" Transfer-Encoding",
          b"Transfer-Encoding\x85", b"transfer encoding", b"\x01Transfer-Encoding",
      )),
    *(bad(f"a framing header hidden by {hiding!r}",
          OK + b"X-A: b" + hiding + name + b": 9\r\nContent-Length: 2\r\n\r\nhi", curl=b"hi")
      for hiding in (b"\r", b"\r ", b"\r\t\r", b"\x0b", b"\x0c", b"\x1c", b"\x85")
      for name in (b"Content-Length", b"transfer_encoding ")),
    bad("a length hidden in the reason",
        b"HTTP/1.1 200 OK\rContent-Length: 9\r\nContent-Length: 2\r\n\r\nhi", curl=b"hi"),
    *(bad(f"a part of a file by {line!r}",
          OK + line + b"\r\nContent-Length: 2\r\n\r\nhi", curl=b"hi")
      for line in (
          b"Content-Range : bytes 3-4/5", b"Content-Range\x0b: bytes 3-4/5",
          b"\tContent-Range: bytes 3-4/5", b"X-A: b\rContent-Range: bytes 3-4/5",
      )),
    bad("a folded length", OK + b"Content-Length:\r\n 2\r\n\r\nhi", curl=b"hi"),
    bad("a folded coding", OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked(b"hi"),
        curl=chunked(b"hi")),
    bad("a length in a folded line",
        OK + b"X-A: b\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\nhi", curl=b"hi"),
    bad("many header lines", OK + b"a:\r\n" * 2001 + b"Content-Length: 2\r\n\r\nhi", curl=b"hi"),
    bad("many header lines of interim responses",
        (b"HTTP/1.1 103 Early\r\n" + b"a:\r\n" * 300 + b"\r\n") * 8 + reply(BODY), curl=BODY),
    bad("many trailers", CHUNKED + b"0\r\n" + b"a:\r\n" * 2001 + b"\r\n", curl=b""),
    bad("more chunk extensions than content",
        CHUNKED + (b"1;" + b"x" * 4000 + b"\r\nx\r\n") * 100 + b"0\r\n\r\n", curl=b"x" * 100),
    bad("a NUL in a header", OK + b"X-A: a\0b\r\nContent-Length: 2\r\n\r\nhi"),
    bad("over 300 KB of headers", OK + b"X-A: b\r\n" * 80_000 + b"\r\n"),
    bad("an endless header line", OK + b"X-A: ", forever(b"x" * 10_000)),
    bad("endless headers", OK, forever(b"X-A: b\r\n" * 1000)),
    bad("endless 100s", forever(b"HTTP/1.1 100 Continue\r\n\r\n")),
    bad("endless trailers", CHUNKED + b"0\r\n", forever(b"X-A: b\r\n" * 1000)),
    bad("an endless trailer", CHUNKED + b"0\r\nX-A: ", forever(b"x" * 10_000)),
    # Other answers than 200: curl -f takes any of 2xx and 3xx for the file.
    status("101 Switching Protocols", is_permanent=False, curl=b"no"),
    status("201 Created", is_permanent=False, curl=b"no"),
    status("204 No Content", is_permanent=False, curl=b""),
    status("205 Reset Content", is_permanent=False, curl=b"no"),
    status("206 Partial Content", is_permanent=False, curl=b"no"),
    status("300 Multiple Choices", is_permanent=False, curl=b"no"),
    status("305 Use Proxy", is_permanent=False, curl=b"no"),
    status("399 Unknown", is_permanent=False, curl=b"no"),
    status("304 Not Modified", is_permanent=False, curl=b""),
    *(status(f"{n} No", is_permanent=True) for n in (400, 401, 403, 404, 407, 410, 418, 451, 499)),
    *(status(f"{n} Later", is_permanent=False) for n in (408, 425, 429, 500, 502, 503, 504, 599)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answer_is_read_exactly(case: Case, originate: Originate, fetch: Fetch) -> None:
    origin = originate(case.script)
    url = f"{origin.base}/file"
    if isinstance(case.expected, FailureCode):
        error = fetch.failure(url)
        assert (error.failure.code, error.is_permanent) == (case.expected, case.is_permanent)
        assert "127.0.0.1" not in error.failure.message
    else:
        digest = fetch(url)
        assert (digest.md5, digest.size) == (md5(case.expected), len(case.expected))
        assert digest.is_length_verified == case.is_length_verified
        assert digest.final_url == url


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answer_is_read_as_curl_does(case: Case, originate: Originate, curl: str) -> None:
    """Where we give a digest it is curl's; where we give none the table knows what curl takes.

    The table is about curl 7.88. Of newer ones only the digests count that both give: they fail
    in more cases, and take other bodies where we fail.
    """
    origin = originate(case.script)
    # Where we give a digest the origin is done at once; elsewhere it may never be.
    seconds = PATIENCE if isinstance(case.expected, bytes) else 1
    command = [curl, "-sf", "--max-time", str(seconds), f"{origin.base}/file"]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    is_newer = b"curl 7.88." not in subprocess.check_output([curl, "--version"])
    if isinstance(case.expected, bytes):
        assert (run.returncode, run.stdout) == (0, case.expected) or (is_newer and run.returncode)
    else:
        assert run.returncode or run.stdout == case.curl or is_newer


def test_request_has_exactly_these_headers(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"")])
    fetch(f"{origin.base}/a%20b?c=d#e")
    first, *headers = origin.requests[0].decode().split("\r\n")
    assert first == "GET /a%20b?c=d HTTP/1.1"
    assert sorted(headers) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        f"Host: 127.0.0.1:{origin.port}",
        f"User-Agent: md5-light/{VERSION}",
    ]


def test_user_agent_of_the_transport_is_sent(originate: Originate) -> None:
    origin = originate([reply(b"")])
    over = Transport(Guard(allow=LOOPBACK), user_agent="curl/7.88.1")
    Fetch(over)(origin.base)
    over.close()
    assert b"\r\nUser-Agent: curl/7.88.1\r\n" in origin.requests[0]


def test_digest_when_the_body_is_there_while_the_connection_stays(
    originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(BODY), stall])
    assert fetch(origin.base).md5 == md5(BODY)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("3601", 3600),
        ("999999999", 3600),
        ("9" * 400, None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 0000 00:00:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999", None),
    ],
)
@pytest.mark.parametrize("line", ["408 A", "425 B", "429 C", "503 D"])
def test_retry_after_is_read_in_seconds_and_as_a_date(
    header: str, seconds: float | None, line: str, originate: Originate, fetch: Fetch
) -> None:
    error = fetch.failure(originate([reply(b"", f"Retry-After: {header}", status=line)]).base)
    assert error.failure.http_status == int(line[:3])
    assert not error.is_permanent
    assert error.retry_after == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_retry_after_a_date(
    zone: str, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP's dates are in GMT, wherever this machine stands."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = formatdate(time.time() + 100, usegmt=True).replace("GMT", zone)
        error = fetch.failure(originate([reply(b"", f"Retry-After: {date}", status="503 A")]).base)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert error.retry_after == pytest.approx(100, abs=5)


def test_retry_after_a_date_is_by_the_clock_of_the_server(
    originate: Originate, fetch: Fetch
) -> None:
    dates = ("Date: Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After: Wed, 21 Oct 2015 07:30:00 GMT")
    error = fetch.failure(originate([reply(b"", *dates, status="503 A")]).base)
    assert error.retry_after == 120


def test_redirects_lead_to_the_file(originate: Originate, fetch: Fetch) -> None:
    statuses = (301, 302, 303, 307, 308)
    origin = originate(*([redirect(f"/{n}", n)] for n in statuses), [reply(BODY)])
    digest = fetch(origin.base, max_redirects=5)
    assert (digest.md5, digest.final_url) == (md5(BODY), f"{origin.base}/308")
    assert [line.split()[1] for line in origin.requests] == [
        b"/", b"/301", b"/302", b"/303", b"/307", b"/308"
    ]  # fmt: skip


# What follows the authority in a URL, and the target that is asked for. They are those of curl
# 7.88; since 8.10 it takes "%2e" for a dot of a dot segment, where we follow the URL as written.
@pytest.mark.parametrize("line", ["300 Multiple Choices", "306 Unused", "399 Unknown"])
def test_other_redirects_are_followed_if_they_name_a_place(
    line: str, originate: Originate, fetch: Fetch
) -> None:
    origin = originate([reply(b"no", "Location: /f", status=line)], [reply(BODY)])
    digest = fetch(origin.base)
    assert (digest.md5, digest.final_url) == (md5(BODY), f"{origin.base}/f")
    empty = originate([reply(b"no", "Location: ", status=line)])
    assert fetch.code(empty.base) is FailureCode.HTTP_STATUS


@pytest.mark.parametrize("line", ["304 Not Modified", "305 Use Proxy", "201 Created"])
def test_other_locations_are_not_followed(line: str, originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"no", "Location: /f", status=line)])
    assert fetch.code(origin.base) is FailureCode.HTTP_STATUS
    assert origin.connections == 1


def test_url_after_a_redirect_is_ascii(originate: Originate, fetch: Fetch) -> None:
    """What an origin writes there cannot reorder or hide a part of what is shown."""
    origin = originate([redirect(raw("/\u202egpj.exe\u3000"))], [reply(BODY)])
    assert fetch(origin.base).final_url == f"{origin.base}/%E2%80%AEgpj.exe%E3%80%80"


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("files.example:{port}", "files.example:{port}"),
        ("Files.EXAMPLE:{port}", "Files.EXAMPLE:{port}"),
        ("files.example.:{port}", "files.example.:{port}"),
        ("name-.example:{port}", "name-.example:{port}"),
        ("-name.example:{port}", "-name.example:{port}"),
        ("a_b.example:{port}", "a_b.example:{port}"),
        ("B\xdcCHER.Example.:{port}", "xn--bcher-kva.example.:{port}"),
        ("files.example", "files.example"),
        ("files.example:", "files.example"),
        ("files.example:80", "files.example"),
        ("files.example.:00080", "files.example."),
    ],
)
def test_host_is_sent_as_it_was_written(
    authority: str, host: str, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As curl does, but for the port that is the scheme's default anyway."""
    origin = originate([reply(BODY)])
    names = []

    def look_up(name: str, *_args: object, **_kwargs: object) -> list[object]:
        names.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", origin.port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert fetch(f"http://{authority.replace('{port}', str(origin.port))}/f").md5 == md5(BODY)
    wanted = host.replace("{port}", str(origin.port))
    assert [line for line in origin.requests[0].split(b"\r\n") if b"Host" in line] == [
        f"Host: {wanted}".encode()
    ]
    assert names == [wanted.partition(":")[0].lower()]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_whether_another_host_answered(host: str, originate: Originate, fetch: Fetch) -> None:
    busy = originate([reply(b"", status="503 Service Unavailable")])
    origin = originate([redirect(f"http://{host}:{busy.port}/f")])
    with pytest.raises(FetchError) as caught:
        fetch(origin.base)
    assert caught.value.is_of_other_host == (host == "localhost")


@pytest.mark.parametrize("location", ["http://localhost:/f", "//localhost:/f"])
def test_redirect_to_an_empty_port(
    location: str, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = originate([redirect(location)], [reply(BODY)])
    ports = []

    def look_up(_name: str, port: int, *_args: object, **_kwargs: object) -> list[object]:
        ports.append(port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", origin.port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert fetch(origin.base).md5 == md5(BODY)
    assert ports == [origin.port, 80]


TARGETS = {
    "/": "/",
    "?x": "/?x",
    "/d/e#f": "/d/e",
    "/%7e%2f%41": "/%7e%2f%41",
    "/a/%2e%2e/b": "/a/%2e%2e/b",
    "/100%/a%2fb?c=%zz&d=%2F": "/100%/a%2fb?c=%zz&d=%2F",
    "/%E2%82": "/%E2%82",
    "/a'b\"<>|^{}`[]~!$&()*+,;=:@": "/a'b\"<>|^{}`[]~!$&()*+,;=:@",
    "/a?b=/../c|<>\"'%": "/a?b=/../c|<>\"'%",
    "/a/./b/../c/..": "/a/",
    "/a//b/..//c/.": "/a///c/",
    "/../../x": "/x",
    "//x//": "//x//",
    "/...//..a": "/...//..a",
    "": "/",
    "?": "/?",
    "/?": "/?",
    "/f?": "/f?",
    "/f?#g": "/f?",
    "#?": "/",
    "/f??": "/f??",
    "/a/..?": "/?",
    "/%": "/%",
    "/caf\xe9?\u3042": "/caf%C3%A9?%E3%81%82",
}


@pytest.mark.parametrize("path", TARGETS)
def test_target_of_a_url(path: str, originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"")])
    fetch(origin.base + path)
    assert origin.requests[0].startswith(f"GET {TARGETS[path]} HTTP/1.1\r\n".encode())


# A Location, and the target that is asked for next after "/d/e": that of curl 7.88, but for the
# case of the digits of the escapes that are added.
def raw(location: str) -> str:
    """A Location whose bytes are UTF-8."""
    return location.encode().decode("latin-1")


LOCATIONS = {
    "?q": "/d/e?q",
    "x": "/d/x",
    "../../x/./y/../z": "/x/z",
    "/a b?c d?e f": "/a%20b?c+d?e+f",
    "/caf\xc3\xa9": "/caf%C3%A9",
    "/caf\xe9": "/caf%E9",
    "/%zz?%2f%": "/%zz?%2f%",
    "/%7e%2f": "/%7e%2f",
    "/a//b/..//c": "/a///c",
    "/a?b?c#d?e": "/a?b?c",
    "/a@b:c": "/a@b:c",
    "//127.0.0.1:{port}/x": "/x",
    "http://127.0.0.1:{port}": "/",
    "HTTP://127.0.0.1:{port}?x": "/?x",
    "/f?": "/f?",
    "?": "/d/e?",
    "?#g": "/d/e?",
    "http://127.0.0.1:{port}/f?": "/f?",
    "//127.0.0.1:{port}?": "/?",
    raw("/\u3042\u3000\u3044.zip"): "/%E3%81%82%E3%80%80%E3%81%84.zip",
    raw("f?\u3042\u3000#\u3000"): "/d/f?%E3%81%82%E3%80%80",
    raw("/\xa0\u200b\u2003\ufeff"): "/%C2%A0%E2%80%8B%E2%80%83%EF%BB%BF",
    raw("/\u202egpj.exe"): "/%E2%80%AEgpj.exe",
    raw("http://127.0.0.1:{port}/\u2028?\x85"): "/%E2%80%A8?%C2%85",
    "/\xe3\x81?\xff": "/%E3%81?%FF",
}


@pytest.mark.parametrize("status", [300, 302, 308, 399])
@pytest.mark.parametrize(
    "location", ["/f?a", raw("/\u3042\u3000\u3044.zip?\u3000"), raw("/\u202e"), "/a b?c d"]
)
def test_redirect_with_curl(
    status: int, location: str, originate: Originate, fetch: Fetch, curl: str
) -> None:
    """We follow where curl does and ask for the same target, but for the case of escapes.

    curl 7.88 drops an empty query here, and no browser does.
    """
    ours, curls = (originate([redirect(location, status)], [reply(BODY)]) for _ in range(2))
    assert fetch(f"{ours.base}/d/e").md5 == md5(BODY)
    command = [curl, "-sfL", f"{curls.base}/d/e"]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == BODY
    lines = {each.requests[1].split(b"\r\n")[0].lower() for each in (ours, curls)}
    assert len(lines) == 1


@pytest.mark.parametrize("location", LOCATIONS)
def test_target_after_a_redirect(location: str, originate: Originate, fetch: Fetch) -> None:
    origin = originate([])
    origin.scripts = [[redirect(location.replace("{port}", str(origin.port)))], [reply(BODY)]]
    assert fetch(f"{origin.base}/d/e").md5 == md5(BODY)
    assert origin.requests[1].startswith(f"GET {LOCATIONS[location]} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    "header",
    [
        "Set-Cookie: " + "a=b; expires=" * 20_000,
        "Set-Cookie: a=b; expires=1-Jan-" + " " * 200_000 + "x",
        "Set-Cookie: " + '"\\' * 140_000,
        "Content-Type: text/html; charset=" + ";" * 280_000,
        "Content-Type: " + ";x=" * 90_000,
        "Retry-After: " + " " * 100_000 + "1" * 100_000,
        "Last-Modified: " + ", :" * 90_000,
        "Content-Encoding: " + "gzip," * 50_000,
        "Transfer-Encoding: " + "identity," * 30_000,
        "Content-Length: " + "1," * 140_000,
        "Connection: " + "a," * 140_000,
        "X-A: b\r\n" + "\r\n".join(" x" for _ in range(60_000)),
        "\r\n".join("Set-Cookie: a=b" for _ in range(14_000)),
        "\r\n".join(f"a{n}:" for n in range(30_000)),
    ],
    ids=lambda header: f"{header[:30]!r}",
)
def test_no_header_takes_long(header: str, originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(b"", header, "Accept-Ranges: bytes", status="200 OK")])
    began = time.process_time()
    with suppress(FetchError):
        fetch(origin.base)
    assert time.process_time() - began < 2
