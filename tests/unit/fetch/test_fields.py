"""A malformed header never decides where a download goes, or whether a part continues it."""

import hashlib
from collections.abc import Callable

import pytest

from devtools.servers.raw_origin import RawOrigin, reply
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import Fetch

Originate = Callable[..., RawOrigin]

BODY = bytes(range(256)) * 40
HALF = len(BODY) // 2

SPELLINGS = ["{} :", "{}\t:", " {}:", "\x0b{}:", "{}\xa0:", '"{}":', "X-A: b\r{}:"]


def spelled(spelling: str, name: str, value: str) -> str:
    """Return a header behind one into which it may be folded."""
    return f"X-Before: x\r\n{spelling.format(name)} {value}"


@pytest.mark.parametrize("spelling", SPELLINGS)
class TestRedirect:
    @pytest.mark.parametrize("status", ["301 A", "302 B", "308 C"])
    def test_malformed_location(
        self, status: str, spelling: str, originate: Originate, fetch: Fetch
    ) -> None:
        line = spelled(spelling, "Location", "/b")
        origin = originate([reply(b"", line, status=status)], [reply(BODY)])
        error = fetch.failure(origin.base)
        assert (error.failure.code, error.is_permanent) == (FailureCode.PROTOCOL_ERROR, True)
        assert origin.connections == 1

    @pytest.mark.parametrize("is_first", [True, False])
    def test_malformed_location_beside_a_valid_one(
        self, *, is_first: bool, spelling: str, originate: Originate, fetch: Fetch
    ) -> None:
        lines = ["Location: /a", spelled(spelling, "Location", "/b")]
        head = reply(b"", *lines[:: 1 if is_first else -1], status="302 Found")
        origin = originate([head], [reply(BODY)])
        assert fetch.code(origin.base) is FailureCode.PROTOCOL_ERROR
        assert origin.connections == 1

    def test_malformed_other_header(
        self, spelling: str, originate: Originate, fetch: Fetch
    ) -> None:
        odd = spelled(spelling, "X-Location", "/b")
        origin = originate(
            [reply(b"", "Location: /a", odd, "Connection: close", status="302 Found")],
            [reply(BODY)],
        )
        assert fetch(origin.base).final_url.endswith("/a")


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("spelling", SPELLINGS)
class TestResume:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Content-Range", f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"),
            ("ETag", '"v2"'),
            ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("Content-Encoding", "gzip"),
        ],
    )
    def test_part_with_a_malformed_header_is_not_used(
        self, name: str, value: str, spelling: str, originate: Originate, fetch: Fetch
    ) -> None:
        whole = reply(BODY, 'ETag: "v1"', "Accept-Ranges: bytes")
        content_range = f"Content-Range: bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"
        lines = [content_range, spelled(spelling, name, value)]
        part = reply(b"?" * HALF, *lines, status="206 Partial Content")
        origin = originate([whole[: len(whole) - HALF]], [part])
        error = fetch.failure(origin.base)
        assert error.failure.code is FailureCode.CHANGED_DURING_DOWNLOAD
        assert not error.is_permanent

    def test_part_with_another_malformed_header_is_used(
        self, spelling: str, originate: Originate, fetch: Fetch
    ) -> None:
        whole = reply(BODY, 'ETag: "v1"', "Accept-Ranges: bytes")
        content_range = f"Content-Range: bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"
        odd = spelled(spelling, "X-Other", "x")
        part = reply(BODY[HALF:], content_range, 'ETag: "v1"', odd, status="206 Partial Content")
        origin = originate([whole[: len(whole) - HALF]], [part])
        assert fetch(origin.base).md5 == hashlib.md5(BODY).hexdigest()
