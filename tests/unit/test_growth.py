"""The helper that finds work growing faster than its input."""

import hashlib

import pytest

from tests.growth import assert_linear


def test_linear_work_passes() -> None:
    assert_linear(lambda size: hashlib.md5(bytes(size)).digest(), largest=2**24, smallest=2**20)


def test_quadratic_work_fails() -> None:
    with pytest.raises(AssertionError, match="bytes took"):
        assert_linear(
            lambda size: [hashlib.md5(bytes(size)) for _ in range(size // 1024)],
            largest=2**18,
            smallest=2**15,
        )
