import csv
import io
import json
from dataclasses import replace

import pytest

from service.export import _etag
from service.manifests import CSV, NDJSON, STS
from tasks.checksums import filename_of, sum_line
from tasks.digests import Algorithm
from tests.examples import DIGEST, STATES

DONE, FAILED = STATES["done"], STATES["failed"]
MD5 = DIGEST.md5


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/b.iso", "example.com/a/b.iso"),
        ("https://Example.COM:443/a", "example.com/a"),
        ("http://example.com:8080/a", "example.com:8080/a"),
        ("https://example.com", "example.com/index.html"),
        ("https://example.com/a/", "example.com/a/index.html"),
        ("https://example.com/a?b=c/d", "example.com/a?b=c%2Fd"),
        ("https://example.com/a%20b", "example.com/a b"),
        ("https://example.com/a%2Fb%0a", "example.com/a%2Fb%0A"),
        ("https://example.com/caf%C3%A9", "example.com/caf\xe9"),
        ("https://example.com/a#b", "example.com/a"),
        ("https://example.com/a/../b", "example.com/b"),
        ("https://example.com/../../b", "example.com/b"),
        ("https://example.com/a/./b/..", "example.com/a/index.html"),
        ("https://example.com/a/%2e%2E/.%2e/b", "example.com/a/%2E%2E/%2E%2E/b"),
        ("https://example.com/a/..%2fb", "example.com/a/..%2Fb"),
        ("https://example.com//a//b//", "example.com/a/b/index.html"),
        ("https://example.com/%2e/a", "example.com/a"),
        ("https://example.com/a?../b", "example.com/a?..%2Fb"),
        ("https://example.com/a?", "example.com/a?"),
        ("https://example.com/a#?", "example.com/a"),
        ("https://m\xfcnchen.example/a", "xn--mnchen-3ya.example/a"),
    ],
)
def test_file_is_named_as_wget_names_it(url: str, name: str) -> None:
    assert filename_of(url) == name


def test_sum_of_a_name_with_a_backslash_is_escaped() -> None:
    task = replace(DONE, url="http://example.com/a%5Cb")
    line = sum_line(task, Algorithm.MD5, is_named_by_url=False)
    assert line == f"\\{MD5}  example.com/a\\\\b\n"


def test_failure_is_a_comment_with_its_status() -> None:
    line = sum_line(FAILED, Algorithm.MD5, is_named_by_url=True)
    assert line == f"# failed: http_status 404 {FAILED.url}\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("caf%E9", "caf%E9"),
        ("caf%C3%A9", "caf\xe9"),
        ("\u3042", "%E3%81%82"),  # of which wget escapes two bytes
        ("\u041c\u043e", "%D0%9C\u043e"),
    ],
)
def test_names_in_text_formats_are_utf_8(path: str, name: str) -> None:
    task = replace(DONE, url=f"http://example.com/{path}")
    assert json.loads(NDJSON.line(task, None).encode())["filename"] == f"example.com/{name}"
    (row,) = csv.reader(io.StringIO(CSV.line(task, None).encode().decode()))
    assert f"example.com/{name}" in row


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_cells_that_a_spreadsheet_would_run_get_an_apostrophe(begin: str) -> None:
    task = replace(FAILED, url=f"{begin}cmd|' /C calc'!A0")
    (row,) = csv.reader(io.StringIO(CSV.line(task, None), newline=""))
    assert row[0] == f"'{begin}cmd|' /C calc'!A0"


def test_file_name_that_a_spreadsheet_would_run_gets_an_apostrophe() -> None:
    (row,) = csv.reader(io.StringIO(CSV.line(replace(DONE, url="http://-a.example/"), None)))
    assert "'-a.example/index.html" in row


def test_csv_has_the_columns_of_its_heading() -> None:
    (heading,) = csv.reader(io.StringIO(CSV.heading))
    assert heading == [
        *("url", "status", "md5", "sha1", "sha256", "sha512", "size", "filename", "final_url"),
        *("length_verified", "verified", "origin_verified", "error", "finished_at"),
    ]
    for task in (DONE, FAILED):
        (row,) = csv.reader(io.StringIO(CSV.line(task, None)))
        cells = dict(zip(heading, row, strict=True))
        assert cells["url"] == task.url
        assert cells["status"] == task.status.value
        assert cells["error"] == ("" if task is DONE else "http_status 404")


def test_list_for_a_transfer_has_complete_files_once() -> None:
    unverified = replace(DONE, digest=replace(DIGEST, is_length_verified=False))
    assert STS.line(DONE, None) == f"{DONE.url}\t0\t1B2M2Y8AsgTpgAmY7PhCfg==\n"
    assert STS.line(DONE, DONE) == ""
    assert STS.line(unverified, None) == ""
    assert STS.line(FAILED, None) == ""


def test_a_strong_validator_changes_with_the_state_of_the_mail() -> None:
    pending = replace(STATES["done, mail pending"], id=DONE.id)
    sent = replace(STATES["done, mail sent"], id=DONE.id)
    assert pending.finished_at == sent.finished_at
    assert len({_etag(task, {"format": "ndjson"}) for task in (DONE, pending, sent)}) == 3
