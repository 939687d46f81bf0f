"""A Location costs time linear in its length, whatever it is made of."""

from contextlib import suppress

import pytest
from urllib3 import HTTPResponse

from fetch.errors import FetchError
from fetch.redirects import redirect_target
from tests.growth import assert_linear


@pytest.mark.parametrize("prefix", ["http://", "http://a.example/", "//", "/", "?", "#"])
@pytest.mark.parametrize(
    "letter",
    ["a", "/", "../", "%", " ", "+", "?", ":", "@", "[", "\xcc\x81", "\xf0\x9f\x98\x80", "\xff"],
)
def test_time_is_linear(prefix: str, letter: str) -> None:
    def work(size: int) -> None:
        headers = {"Location": prefix + letter * (size // len(letter))}
        response = HTTPResponse(headers=headers, status=302)
        with suppress(FetchError):
            redirect_target("http://files.example/a", response)

    assert_linear(work, largest=2**18)
