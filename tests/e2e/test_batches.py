"""A list in, a manifest out: the running system with batches."""

import csv
import hashlib
import io
import json
import random
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from bench.export import insert_batch
from devtools.servers.deployment import System
from devtools.servers.inbox import Inbox
from devtools.servers.origin import Origin
from devtools.servers.process import find_program, free_port
from devtools.servers.system import REPLY_SECONDS, Service
from devtools.waiting import wait_for
from tasks.stores.contract import TaskStore
from tests.batches import store_batch
from tests.e2e.batches import (
    LateOrigin,
    curl,
    export,
    insert_long_batch,
    names_of_host,
    submit_list,
    try_to_submit_list,
    wait_for_batch,
    wait_until_some_are_done,
)
from tests.e2e.ledger import unsettled
from worker.batch_workers import LONG_DOWNLOADS
from worker.pace import MOST_CLAIMED

FILES = {
    "/one": b"one",
    "/empty": b"",
    "/folder/": b"index",
    "/a%20b": b"space",
    "/caf%C3%A9": b"accent",
    "/slash%2Fescaped": b"slash",
    "/back%5Cslash": b"backslash",
    "/query": b"query",
}
PATHS = [*FILES, "/query?a=b/c%20d"]

WORKER_THREADS = 10  # of each deployment
SINGLE_SECONDS = 30  # for a download or a mail, which take less than one second

Serve = Callable[[Mapping[str, bytes]], Origin]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def numbered(count: int) -> dict[str, bytes]:
    return {f"/{number}": f"file {number}".encode() for number in range(count)}


def test_a_list_becomes_a_manifest(system: System, serve: Serve) -> None:
    service, origin = system.start(), serve(FILES)
    lines = [f"{origin.base}{path}" for path in [*PATHS, "/missing"]]

    batch_id = submit_list(service, lines)
    body = wait_for_batch(service, batch_id)

    assert body["tasks"] == {"total": 10, "running": 0, "done": 9, "failed": 1}
    assert body["bytes_done"] == sum(map(len, FILES.values())) + len(b"query")
    assert "mismatched" not in body
    rows = list(csv.DictReader(io.StringIO(export(service, batch_id).text)))
    assert [row["url"] for row in rows] == lines
    assert [row["md5"] for row in rows] == [
        *(md5(FILES[path.partition("?")[0]]) for path in PATHS),
        "",
    ]
    assert rows[-1]["status"] == "failed"
    assert rows[-1]["error"] == "http_status 404"


def test_sums_are_those_of_the_files_that_wget_stores(
    embedded: System, serve: Serve, tmp_path: Path
) -> None:
    service, origin = embedded.start(), serve(FILES)
    urls = [f"{origin.base}{path}" for path in PATHS]
    sha256 = [f"{hashlib.sha256(FILES['/one']).hexdigest()}  {urls[0]}"]
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    subprocess.run([find_program("wget"), "-q", "-x", "-i", "urls.txt"], cwd=tmp_path, check=True)
    urls.append(f"{origin.base}/missing")
    for lines, tool, options in ((urls, "md5sum", {}), (sha256, "sha256sum", {"digest": "sha256"})):
        batch_id = submit_list(service, lines)
        wait_for_batch(service, batch_id)
        sums = export(service, batch_id, format="md5sum", **options).content
        (tmp_path / "SUMS").write_bytes(sums)
        checked = subprocess.run(
            [tool, "-c", "--strict", "SUMS"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert checked.stdout.count(": OK") == len([line for line in lines if line != urls[-1]])


def test_an_export_that_is_submitted_again_is_a_fixity_check(
    embedded: System, serve: Serve
) -> None:
    service, files = embedded.start(), dict(FILES)
    origin = serve(files)
    first = submit_list(service, [f"{origin.base}{path}" for path in PATHS])
    wait_for_batch(service, first)
    exports = [
        export(service, first, format="md5sum", names="url").text,
        export(service, first, format="sts").text,
    ]
    files["/one"] = b"tampered"

    for text in exports:
        answer = try_to_submit_list(service, text)
        assert answer.json()["total"] == len(PATHS)
        assert wait_for_batch(service, answer.json()["id"])["mismatched"] == 1


@pytest.mark.parametrize(
    ("name", "media_type", "extension"),
    [
        ("csv", "text/csv; charset=utf-8; header=present", "csv"),
        ("ndjson", "application/x-ndjson", "ndjson"),
        ("md5sum", "text/plain; charset=utf-8", "md5sum.txt"),
        ("sts", "text/tab-separated-values", "tsv"),
    ],
)
def test_each_format_has_its_type_and_file_name(
    name: str, media_type: str, extension: str, embedded: System, serve: Serve
) -> None:
    service, origin = embedded.start(), serve(FILES)
    batch_id, task_id = (
        submit_list(service, [f"{origin.base}/one"]),
        service.submit(f"{origin.base}/one"),
    )
    wait_for_batch(service, batch_id)
    service.wait_for_end(task_id)
    for each in (batch_id, task_id):
        answer = export(service, each, format=name)
        headers = answer.headers
        assert headers["Content-Type"] == media_type
        assert headers["Content-Disposition"] == f'attachment; filename="{each}.{extension}"'
        only_head = requests.head(answer.url, timeout=REPLY_SECONDS)
        for field in ("Content-Type", "Content-Disposition", "ETag"):
            assert only_head.headers[field] == headers[field]
        assert not headers["ETag"].startswith("W/")
        known = {"If-None-Match": headers["ETag"]}
        again = requests.get(answer.url, headers=known, timeout=REPLY_SECONDS)
        assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")


@pytest.mark.services
def test_check_of_a_batch_reads_one_document(distributed: System) -> None:
    short, long = ([f"http://127.0.0.1:1025/{number}" for number in range(n)] for n in (3, 300))
    batch_ids = [
        *(insert_batch(distributed.store, lines) for lines in (short, long)),
        *(store_batch(distributed.store, lines).task.id for lines in (short, long)),
    ]
    service = distributed.start_service()
    service.check(batch_ids[0])  # its first look may ask for the server's time
    with MongoClient[dict[str, Any]](distributed.environ["MONGODB_URL"]) as client:
        database = client.get_default_database()
        database.command("profile", 2)
        for batch_id in batch_ids:
            assert service.check(batch_id).json()["tasks"]["total"] in (3, 300)
        database.command("profile", 0)
        entries = list(database["system.profile"].find({"appName": "md5-light"}).sort("ts"))
    assert [each["command"].get("find") for each in entries] == ["tasks"] * len(batch_ids)
    assert [each["command"]["filter"] for each in entries] == [{"_id": each} for each in batch_ids]
    assert [each["docsExamined"] for each in entries] == [1] * len(batch_ids)


def test_each_export_has_a_validator_of_its_own(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve(FILES)
    batch_ids = [submit_list(service, [f"{origin.base}/one"]) for _ in range(2)]
    options: list[dict[str, str]] = [
        *({"format": name} for name in ("csv", "ndjson", "md5sum", "sts")),
        {"format": "md5sum", "digest": "sha256"},
        {"format": "md5sum", "names": "url"},
    ]
    for batch_id in batch_ids:
        wait_for_batch(service, batch_id)
    tags = [
        export(service, batch_id, **each).headers["ETag"]
        for batch_id in batch_ids
        for each in options
    ]
    assert len(set(tags)) == len(tags) == 12


def test_json_lines_are_what_check_returns(embedded: System, serve: Serve, tmp_path: Path) -> None:
    service, origin = embedded.start(), serve(FILES)
    urls = [f"{origin.base}/{name}" for name in ("one", "missing", "one")]
    batch_id = submit_list(service, urls)
    wait_for_batch(service, batch_id)
    (tmp_path / "results").write_bytes(export(service, batch_id, format="ndjson").content)
    read = subprocess.run(
        [find_program("jq"), "-es", ".", "results"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    lines = json.loads(read.stdout)
    assert [each.pop("filename") for each in lines] == [
        f"{origin.base.removeprefix('http://')}/{name}" for name in ("one", "missing", "one")
    ]
    assert [service.check(each["id"]).json() for each in lines] == [
        {name: value for name, value in each.items() if name != "id"} for each in lines
    ]


def test_list_for_a_transfer_is_sorted_and_without_repetitions(
    embedded: System, serve: Serve
) -> None:
    service, origin = embedded.start(), serve(FILES)
    urls = [f"{origin.base}{path}" for path in ("/one", "/empty", "/one", "/missing")]
    batch_id = submit_list(service, urls)
    wait_for_batch(service, batch_id)
    answer = export(service, batch_id, format="sts")
    assert answer.text == (
        "TsvHttpData-1.0\n"
        f"{origin.base}/empty\t0\t1B2M2Y8AsgTpgAmY7PhCfg==\n"
        f"{origin.base}/one\t3\t+XxdKZQb+xsv2rCHSQargg==\n"
    )


def test_every_form_of_a_list_is_accepted(
    embedded: System, serve: Serve, curl_path: str, tmp_path: Path
) -> None:
    service, origin = embedded.start(), serve(FILES)
    urls = [f"{origin.base}/one?a=1&b=2", f"{origin.base}/empty"]
    text = "\n".join(urls)
    (tmp_path / "urls.txt").write_text(text)
    ids = [
        curl(curl_path, service, tmp_path, "-F", "urls=@urls.txt")["id"],
        curl(curl_path, service, tmp_path, "--data-urlencode", "urls@urls.txt")["id"],
        curl(curl_path, service, tmp_path, "-F", "urls=<urls.txt")["id"],
    ]
    for body in ({"urls": text}, {"urls": urls}):
        answer = requests.post(f"{service.base}/submit", json=body, timeout=REPLY_SECONDS)
        ids.append(answer.json()["id"])
    for batch_id in ids:
        wait_for_batch(service, batch_id)
        rows = csv.DictReader(io.StringIO(export(service, batch_id).text))
        assert [row["url"] for row in rows] == urls


@pytest.fixture(scope="module")
def open_service(open_system: System) -> Service:
    return open_system.start()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-d", "urls=@urls.txt"],
        ["-d", "@urls.txt"],
        ["--data-binary", "@urls.txt"],
        ["-T", "urls.txt"],
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "http://example.com/1\nhttp://example.com/2\n",
        "# a list\nhttp://example.com/1?a=b&c=d\n",
        "# version=1\nhttp://example.com/1\n",
        f"{'0' * 32}  http://example.com/1\n",
        "http://example.com/1?a=b&c=d\n" * 200,
    ],
)
def test_frequent_mistakes_with_curl_name_the_right_command(
    open_service: Service, curl_path: str, tmp_path: Path, arguments: list[str], text: str
) -> None:
    (tmp_path / "urls.txt").write_text(text)
    error = curl(curl_path, open_service, tmp_path, *arguments)["error"]
    assert "curl -F urls=@FILE" in error["message"]


@pytest.fixture
def curl_path() -> str:
    return find_program("curl")


def test_refusals_of_lists(embedded: System) -> None:
    service = embedded.start_service(MAX_BATCH="3")
    url = "http://127.0.0.1:1025/"
    refused = [
        ({"urls": f"{url}\nnope\n{url}\nbad"}, 400, "Line 2: url must begin with"),
        ({"urls": url, "url": url}, 400, "url cannot be given together with urls"),
        ({"urls": url, "md5": "0" * 32}, 400, "md5 cannot be given together with urls"),
        ({"urls": "# nothing"}, 400, "urls must have at least one URL"),
        ({"urls": f"{url}\n" * 4}, 413, "at most 3 URLs. This one has 4"),
        ({"urls": "x" * (4 * 2**20)}, 413, "at most 4,194,304 bytes"),
        ({"urls": url, "email": "x" * 2**18}, 413, "but urls may have at most 131,072 characters"),
        ({"email": "x" * 2**18, "url": url}, 413, "at most 65,536 bytes without urls"),
    ]
    for data, status, message in refused:
        answer = requests.post(f"{service.base}/submit", data=data, timeout=REPLY_SECONDS)
        assert answer.status_code == status, message
        assert message in answer.json()["error"]["message"]
    for setting in ("URLS_PER_HOUR", "MAX_UNFINISHED"):  # that no list of this size ever meets
        strict = embedded.start_service(**{setting: "3"})
        answer = try_to_submit_list(strict, f"{url}\n" * 4)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert "at most 3 URLs. This one has 4." in answer.json()["error"]["message"]
    none = embedded.start_service(MAX_BATCH="0")
    answer = requests.post(f"{none.base}/submit", data={"urls": url}, timeout=REPLY_SECONDS)
    assert "this service takes no batches" in answer.json()["error"]["message"]


def test_refusal_of_a_body_of_no_stated_length_names_the_limit(open_service: Service) -> None:
    parts = (b"#" * 2**20 for _ in range(5))
    answer = requests.post(f"{open_service.base}/submit", data=parts, timeout=REPLY_SECONDS)
    assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == (
        "too_large",
        "The body may have at most 4,194,304 bytes.",
    )


def test_a_batch_counts_its_lines_for_its_client(embedded: System) -> None:
    service = embedded.start_service(URLS_PER_HOUR="5")
    lines = "http://127.0.0.1:1025/\n"
    assert try_to_submit_list(service, lines * 3).status_code == HTTPStatus.ACCEPTED
    refused = try_to_submit_list(service, lines * 3)
    assert refused.status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert int(refused.headers["Retry-After"]) > 0
    assert try_to_submit_list(service, lines * 2).status_code == HTTPStatus.ACCEPTED


def test_the_same_key_is_the_same_batch(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve(FILES)
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    lines = f"{origin.base}/one\n{origin.base}/empty\n"
    first = try_to_submit_list(service, lines, key)
    again = try_to_submit_list(service, lines, key)
    other = try_to_submit_list(service, f"{origin.base}/one\n", key)
    assert first.json() == again.json()
    assert other.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert wait_for_batch(service, first.json()["id"])["tasks"]["done"] == 2
    assert Counter(origin.requests) == {"/one": 1, "/empty": 1}


def remove_first(store: TaskStore, task_id: str) -> bool:
    """Remove the task that expires first. Return whether that task is gone."""
    store.remove_settled(1)
    return store.get(task_id) is None


def test_the_key_of_a_batch_that_has_expired_is_new(system: System, inbox: Inbox) -> None:
    """With an email, the members outlive their batch."""
    service = system.start()
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    email = "someone@example.com"
    with LateOrigin() as origin:
        for done, mails in ((1, 1), (2, 2)):
            lines = f"{origin.base}/file\n{origin.base}/file\n"
            answer = try_to_submit_list(service, lines, key, email=email)
            batch_id = answer.json()["id"]
            assert wait_for_batch(service, batch_id)["tasks"]["done"] == done
            wait_for(lambda: service.check(batch_id).json().get("mail_status") == "sent")  # noqa: B023
            assert len(inbox.mails) == mails
            wait_for(lambda: not unsettled(system.store))  # the lanes
            wait_for(partial(remove_first, system.store, batch_id))
    assert len(origin.requests) == 4


def test_one_mail_reports_the_whole_batch(system: System, serve: Serve, inbox: Inbox) -> None:
    system.environ["PUBLIC_URL"] = "https://md5.example.com/"
    service, origin = system.start(), serve(numbered(30))
    lines = [f"{origin.base}/{number}" for number in range(31)]
    batch_id = submit_list(service, lines, email="someone@example.com")
    wait_for(lambda: service.check(batch_id).json().get("mail_status") == "sent")
    (mail,) = inbox.mails
    assert b"Subject: MD5 of 31 files: 30 done, 1 failed" in mail
    assert f"https://md5.example.com/export?id={batch_id}&format=csv".encode() in mail
    assert f"http_status 404  {origin.base}/30".encode() in mail
    assert f'filename="{batch_id}.md5sum.txt"'.encode() in mail


def test_an_export_waits_for_the_end(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve(FILES)
    origin.may_finish.clear()
    batch_id = submit_list(service, [f"{origin.base}/one"])
    early = export(service, batch_id)
    assert early.status_code == HTTPStatus.CONFLICT
    assert early.json()["error"]["code"] == "unfinished"
    assert int(early.headers["Retry-After"]) >= 1
    origin.may_finish.set()
    wait_for_batch(service, batch_id)
    first = export(service, batch_id, format="ndjson")
    assert first.headers["Content-Disposition"] == f'attachment; filename="{batch_id}.ndjson"'
    assert json.loads(first.text)["md5"] == md5(b"one")
    again = requests.get(
        first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=REPLY_SECONDS
    )
    assert again.status_code == HTTPStatus.NOT_MODIFIED
    only_head = requests.head(first.url, timeout=REPLY_SECONDS)
    assert only_head.headers["ETag"] == first.headers["ETag"]
    assert export(service, str(uuid.uuid4())).status_code == HTTPStatus.NOT_FOUND
    assert export(service, batch_id, format="xml").status_code == HTTPStatus.BAD_REQUEST


LONG_LIST = [f"http://127.0.0.1:1025/{'x' * 350}/{number}" for number in range(10_000)]


def test_long_list_takes_little_memory(system: System) -> None:
    service = system.start_service()
    submit_list(service, LONG_LIST[:100])
    before = service.peak_memory()
    submit_list(service, LONG_LIST)
    assert service.peak_memory() < before + 50 * 2**20


def test_memory_does_not_grow_with_an_export(system: System) -> None:
    service = system.start_service()
    short, long = (insert_batch(system.store, LONG_LIST[:count]) for count in (1000, 10_000))
    for name in ("csv", "sts"):
        export(service, short, format=name)
    before = service.peak_memory()
    for name in ("csv", "sts"):
        assert len(export(service, long, format=name).content) > 350 * 10_000
    assert service.peak_memory() < before + 4 * 2**20


def test_an_export_of_a_batch_that_has_lost_results(system: System) -> None:
    service = system.start_service()
    batch_id = insert_long_batch(system)
    batch = system.store.get(batch_id)
    assert batch is not None
    assert batch.batch is not None
    system.store.members.expire(batch.batch.group, system.store.now() + timedelta(hours=1))
    url = f"{service.base}/export?id={batch_id}"
    with requests.get(url, stream=True, timeout=REPLY_SECONDS) as answer:
        parts = answer.iter_content(2**12)
        next(parts)
        # As above MAX_STORED, or at the end of RETENTION.
        assert system.store.remove_settled(2000) == 2000
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for _ in parts:
                pass
    assert export(service, batch_id).status_code == HTTPStatus.NOT_FOUND


def test_a_transfer_has_a_url_whose_first_mention_failed(embedded: System) -> None:
    with LateOrigin() as origin:
        service = embedded.start_service(BATCH_PER_HOST="1")
        batch_id = submit_list(service, [f"{origin.base}/file"] * 2)
        tasks = wait_for_batch(service, batch_id)["tasks"]
    assert (tasks["failed"], tasks["done"]) == (1, 1)
    assert f"{origin.base}/file\t5\t" in export(service, batch_id, format="sts").text


def test_a_single_task_is_a_file_of_one_entry(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve(FILES)
    task_id = service.submit(f"{origin.base}/one")
    service.wait_for_end(task_id)
    sums = export(service, task_id, format="md5sum", names="url").text
    assert sums == f"{md5(b'one')}  {origin.base}/one\n"


def test_a_batch_ends_while_all_threads_of_single_tasks_are_busy(
    system: System, serve: Serve
) -> None:
    system.environ["READ_TIMEOUT"] = "1h"
    service, slow, fast = system.start(), serve(FILES), serve(FILES)
    slow.may_finish.clear()
    for _ in range(40):  # more than there are threads
        service.submit(f"{slow.base}/one")
    wait_for(lambda: len(slow.requests) > 1)
    batch_id = submit_list(service, [f"{fast.base}/one"])
    assert wait_for_batch(service, batch_id)["tasks"]["done"] == 1


def test_single_tasks_go_first(system: System, serve: Serve, inbox: Inbox) -> None:
    """They need no thread of a worker whose threads for lanes are all waiting for a slow host."""
    system.environ.update(READ_TIMEOUT="1h", BATCH_PER_HOST="0")
    service, slow, fast = system.start(), serve(numbered(200)), serve(FILES)
    slow.may_finish.clear()
    batch_id = submit_list(service, [f"{slow.base}/{number}" for number in range(200)])
    wait_for(lambda: len(slow.requests) >= WORKER_THREADS + LONG_DOWNLOADS)
    task_id = service.submit(f"{fast.base}/one", email="someone@example.com")
    service.wait_for_end(task_id, SINGLE_SECONDS)
    wait_for(lambda: inbox.mails, SINGLE_SECONDS)
    assert service.check(batch_id).json()["tasks"]["running"] == 200
    slow.may_finish.set()
    wait_for_batch(service, batch_id)


def test_a_batch_survives_kills_of_everything(system: System, serve: Serve) -> None:
    files = numbered(600)
    origin = serve(files)
    service = system.start()
    batch_id = submit_list(service, [f"{origin.base}{path}" for path in files])
    for share in (1, 2):
        wait_for(lambda share=share: len(set(origin.requests)) > 150 * share)  # type: ignore[misc]
        system.kill()
        service = system.start()
    body = wait_for_batch(service, batch_id)
    assert body["tasks"] == {"total": 600, "running": 0, "done": 600, "failed": 0}
    rows = csv.DictReader(io.StringIO(export(service, batch_id).text))
    assert [row["md5"] for row in rows] == [md5(data) for data in files.values()]
    # A killed worker repeats at most the members that it held, in each of four lanes.
    assert len(origin.requests) <= 600 + 2 * 4 * MOST_CLAIMED


def test_a_batch_that_was_never_answered_is_not_downloaded(embedded: System, serve: Serve) -> None:
    files = numbered(3000)
    origin = serve(files)
    text = "\n".join(f"{origin.base}{path}" for path in files)
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    service = embedded.start()
    stored = embedded.store.count_stored()
    answers = []
    with pytest.raises(requests.ConnectionError):  # noqa: PT012  killed in the middle
        killer = threading.Thread(target=_kill_when_growing, args=(embedded, service, stored))
        killer.start()
        answers.append(try_to_submit_list(service, text, key))
    killer.join()

    service = embedded.start()
    other = submit_list(service, [f"{origin.base}/0"])
    wait_for_batch(service, other)
    assert set(origin.requests) == {"/0"}

    answer = try_to_submit_list(service, text, key)
    assert answer.status_code == HTTPStatus.ACCEPTED
    body = wait_for_batch(service, answer.json()["id"])
    assert body["tasks"]["done"] == 3000


def _kill_when_growing(system: System, service: Service, stored: int) -> None:
    wait_for(lambda: system.store.count_stored() > stored + 500)
    service.kill()


def test_progress_is_reported_while_a_batch_runs(embedded: System, serve: Serve) -> None:
    service, origin = embedded.start(), serve(numbered(50))
    origin.may_finish.clear()
    lines = [f"{origin.base}/{number}" for number in range(50)]
    batch_id = submit_list(service, [*lines, f"http://127.0.0.1:{free_port()}/"])
    answer = service.check(batch_id)
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert answer.json()["tasks"] == {"total": 51, "running": 51, "done": 0, "failed": 0}
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    origin.may_finish.set()
    wait_until_some_are_done(service, batch_id, 50)


def test_hosts_may_be_mixed_in_any_order(embedded: System, serve: Serve) -> None:
    bases = [base for _ in range(3) for base in names_of_host(serve(numbered(20)))]
    lines = [f"{base}/{number}" for base in bases for number in range(20)]
    random.shuffle(lines)
    service = embedded.start()
    batch_id = submit_list(service, lines)
    assert wait_for_batch(service, batch_id)["tasks"]["done"] == 120
