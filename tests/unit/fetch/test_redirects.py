"""A Location costs time linear in its length, whatever it is made of."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
import requests
from urllib3 import HTTPHeaderDict

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
        response = requests.Response()
        response.raw = SimpleNamespace(
            headers=HTTPHeaderDict({"Location": prefix + letter * (size // len(letter))})
        )
        with suppress(FetchError):
            redirect_target("http://files.example/a", response)

    assert_linear(work, largest=2**18)
