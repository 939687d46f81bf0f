"""The soft limit on descriptors is raised, and never lowered."""

import resource

import pytest

from worker.descriptors import MAX_DESCRIPTORS, raise_descriptor_limit

INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1024), (1024, 1024)),
        ((1024, 10**9), (MAX_DESCRIPTORS, 10**9)),
        ((1024, INFINITY), (MAX_DESCRIPTORS, INFINITY)),
        ((10**6, 10**9), (10**6, 10**9)),
        ((INFINITY, INFINITY), (INFINITY, INFINITY)),
    ],
)
def test_descriptor_limit_is_raised_as_far_as_allowed(
    before: tuple[int, int], after: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, chosen: limits.append(chosen))
    raise_descriptor_limit()
    assert limits[-1] == after


@pytest.mark.parametrize("error", [ValueError("not allowed"), PermissionError(1, "seccomp")])
def test_a_limit_that_cannot_be_raised_stays(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit()
