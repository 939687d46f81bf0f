"""More digests in the same pass, and what is expected of them."""

import csv
import email
import email.policy
import hashlib
import io
import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest
import requests

from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.system import REPLY_SECONDS, Service
from devtools.waiting import wait_for
from tests.e2e.batches import export, submit_list, try_to_submit_list, wait_for_batch

Serve = Callable[[Mapping[str, bytes]], Origin]

BODY = bytes(range(256)) * 5000  # longer than what is hashed without a thread
NAMES = ("md5", "sha1", "sha256", "sha512")
DIGESTS = {name: hashlib.new(name, BODY).hexdigest() for name in NAMES}
URL = "http://127.0.0.1:1025/never-fetched"


def post(service: Service, fields: Mapping[str, str]) -> requests.Response:
    return requests.post(f"{service.base}/submit", data=fields, timeout=REPLY_SECONDS)


@pytest.fixture(scope="module")
def closed(open_system: System) -> Service:
    return open_system.start_service()


@pytest.mark.parametrize(
    ("digests", "names"),
    [
        ("sha256", {"sha256"}),
        ("sha512,sha1", {"sha1", "sha512"}),
        (" md5, sha256 ,sha256", {"sha256"}),
        ("md5", set()),
        ("", set()),
    ],
)
def test_digests_that_are_asked_for(
    system: System, serve: Serve, inbox: Inbox, digests: str, names: set[str]
) -> None:
    service, origin = system.start(), serve({"/file": BODY})

    task_id = service.submit(f"{origin.base}/file", digests=digests, email="user@example.com")

    body = service.wait_for_end(task_id).json()
    expected = {name: DIGESTS[name] for name in NAMES if name in names | {"md5"}}
    assert {name: body[name] for name in NAMES if name in body} == expected
    assert "verified" not in body
    (row,) = csv.DictReader(io.StringIO(export(service, task_id).text))
    assert {name: row[name] for name in NAMES} == dict.fromkeys(NAMES, "") | expected
    exported = json.loads(export(service, task_id, format="ndjson").text)
    assert {name: exported[name] for name in NAMES if name in exported} == expected
    for name in NAMES:
        sums = export(service, task_id, format="md5sum", digest=name).text
        assert sums.startswith(f"{DIGESTS[name]}  " if name in expected else f"# failed: no {name}")
    wait_for(lambda: inbox.mails)
    text = email.message_from_bytes(inbox.mails[0], policy=email.policy.default).get_content()
    assert {name for name in NAMES if DIGESTS[name] in text} == expected.keys()


@pytest.mark.parametrize("name", NAMES)
def test_an_expected_digest_is_computed_and_verified(
    embedded: System, serve: Serve, name: str
) -> None:
    service, origin = embedded.start(), serve({"/file": BODY})

    right, wrong = (
        post(service, {"url": f"{origin.base}/file", name: digest}).json()["id"]
        for digest in (DIGESTS[name].upper(), "0" * len(DIGESTS[name]))
    )

    done = service.wait_for_end(right).json()
    assert (done[name], done["verified"]) == (DIGESTS[name], True)
    assert "mismatches" not in done
    differing = service.wait_for_end(wrong)
    assert differing.status_code == HTTPStatus.OK
    assert differing.json()[name] == DIGESTS[name]
    assert (differing.json()["verified"], differing.json()["mismatches"]) == (False, [name])


def test_each_digest_that_differs_is_named(embedded: System, serve: Serve, inbox: Inbox) -> None:
    service, origin = embedded.start(), serve({"/file": BODY})

    task_id = service.submit(
        f"{origin.base}/file",
        email="user@example.com",
        md5="0" * 32,
        sha256=DIGESTS["sha256"],
        sha512="0" * 128,
    )

    body = service.wait_for_end(task_id).json()
    assert (body["verified"], body["mismatches"]) == (False, ["md5", "sha512"])
    assert "sha1" not in body
    wait_for(lambda: inbox.mails)
    text = email.message_from_bytes(inbox.mails[0], policy=email.policy.default).get_content()
    lines = text.splitlines()
    assert {"Verdict:   NOT the one you expected", "Differs:   MD5, SHA-512"} <= set(lines)


def test_digests_of_a_batch(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve({"/file": BODY, "/empty": b""})
    lines = [
        f"{origin.base}/file",
        f"{hashlib.sha512(b'').hexdigest()}  {origin.base}/empty",
        f"{'0' * 40}  {origin.base}/empty",
    ]

    batch_id = submit_list(service, lines, digests="sha256")

    assert wait_for_batch(service, batch_id)["mismatched"] == 1
    rows = [json.loads(line) for line in export(service, batch_id, format="ndjson").iter_lines()]
    assert [set(NAMES) & row.keys() for row in rows] == [
        {"md5", "sha256"},
        {"md5", "sha256", "sha512"},
        {"md5", "sha1", "sha256"},
    ]
    assert rows[0]["sha256"] == DIGESTS["sha256"]
    assert [row.get("mismatches") for row in rows] == [None, None, ["sha1"]]
    sums = export(service, batch_id, format="md5sum", digest="sha256").text.splitlines()
    assert [line.split()[0] for line in sums] == [row["sha256"] for row in rows]


def test_the_same_key_with_other_digests_is_another_batch(closed: Service) -> None:
    headers = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    first, again, other = (
        try_to_submit_list(closed, URL, headers, digests=digests)
        for digests in ("sha256", "md5, sha256", "sha256,sha512")
    )
    assert again.json() == first.json()
    assert other.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        (
            "digests",
            "sha3",
            "must be one or more of md5, sha1, sha256, sha512, separated by commas",
        ),
        ("digests", "sha256;sha512", "must be one or more of"),
        ("digests", "sha256,", "must be one or more of"),
        ("digests", "SHA256", "must be one or more of"),
        ("digests", " ", "must be one or more of"),
        ("md5", "0" * 31, "must be 32 hexadecimal digits"),
        ("sha1", "0" * 32, "must be 40 hexadecimal digits"),
        ("sha256", "g" * 64, "must be 64 hexadecimal digits"),
        ("sha512", f"{'0' * 127}٣", "must be 128 hexadecimal digits"),
    ],
)
def test_an_invalid_digest_is_refused(closed: Service, name: str, value: str, rule: str) -> None:
    answer = post(closed, {"url": URL, name: value})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_parameter", name)
    assert error["message"].startswith(f"{name} {rule}")


@pytest.mark.parametrize("name", NAMES)
def test_a_list_has_its_expectations_in_its_lines(closed: Service, name: str) -> None:
    answer = post(closed, {"urls": URL, name: DIGESTS[name]})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"]["rule"] == "cannot be given together with urls."


def test_digests_in_json_are_a_string(closed: Service) -> None:
    order = {"url": URL, "digests": ["sha256"]}
    answer = requests.post(f"{closed.base}/submit", json=order, timeout=REPLY_SECONDS)
    assert answer.json()["error"]["message"] == "digests must be a string."
