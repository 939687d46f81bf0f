"""A URL of any length costs the service little, wherever it comes from."""

from http import HTTPStatus

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.raw_origin import RawOrigin, redirect
from devtools.waiting import wait_for

MARKS = ("\u0301" * 70_000 + "\u0316" * 70_000).encode().decode("latin-1")


@pytest.mark.parametrize("prefix", ["http://a", "//a"])
def test_redirect_to_an_endless_host_does_not_freeze_others(embedded: System, prefix: str) -> None:
    service = embedded.start()
    with RawOrigin([redirect(f"{prefix}{MARKS}.com/")]) as origin:
        task_id = service.submit(origin.base)
        answers: list[requests.Response] = []

        def has_ended() -> bool:
            answers.append(
                requests.get(f"{service.base}/check", params={"id": task_id}, timeout=20)
            )
            return answers[-1].status_code != HTTPStatus.ACCEPTED

        wait_for(has_ended)
    assert answers[-1].json()["error"]["code"] == "invalid_redirect"


def test_a_host_of_combining_marks_is_refused_at_once(embedded: System) -> None:
    service = embedded.start()
    answer = service.try_to_submit("http://" + "\u0301" * 8000 + ".com/")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"]["field"] == "url"
