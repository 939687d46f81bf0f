import hashlib
import tracemalloc

import pytest

from service.errors import BadRequestError
from service.lines import MAX_LINE_LENGTH, Entry, LineReader
from tasks.digests import NOTHING_EXPECTED, Algorithm, Expected
from tests.batches import read_lines

URL = "https://example.com/empty"
EMPTY = {name: hashlib.new(name, b"").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}
MD5 = Expected({Algorithm.MD5: EMPTY["md5"]})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (URL, NOTHING_EXPECTED),
        (f"  {URL} ", NOTHING_EXPECTED),
        (f"{EMPTY['md5']}  {URL}", MD5),
        (f"{EMPTY['md5']} *{URL}", MD5),
        (f"{EMPTY['md5']}  {URL} ", MD5),
        (f"{EMPTY['md5'].upper()}  {URL}", MD5),
        (f"{EMPTY['sha1']}  {URL}", Expected({Algorithm.SHA1: EMPTY["sha1"]})),
        (f"{EMPTY['sha256']}  {URL}", Expected({Algorithm.SHA256: EMPTY["sha256"]})),
        (f"{EMPTY['sha512']} *{URL}", Expected({Algorithm.SHA512: EMPTY["sha512"]})),
        (f"{URL}\t0\t1B2M2Y8AsgTpgAmY7PhCfg==", Expected(MD5.hexdigests, 0)),
    ],
)
def test_line_is_a_url_and_what_is_expected(line: str, expected: Expected) -> None:
    assert read_lines(line) == [Entry(URL, expected)]


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{URL}",
        f"{URL}\r\n",
        f"\n\n{URL}\n \t\n",
        f"# a comment\n{URL}\n#{URL}",
        f"TsvHttpData-1.0\n{URL}",
        f"\ufeffTsvHttpData-1.0\r\n{URL}\r\n",
    ],
)
def test_what_is_not_an_entry_is_skipped(text: str) -> None:
    assert read_lines(text) == [Entry(URL, NOTHING_EXPECTED)]


def test_entries_keep_their_order_and_repetitions() -> None:
    urls = [f"{URL}/{number % 3}" for number in range(10)]
    assert [entry.url for entry in read_lines("\n".join(urls))] == urls


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("ftp://example.com/", "url must begin with http:// or https://"),
        ("example.com/file", "url must begin with http:// or https://"),
        (f"{EMPTY['md5'][1:]}  {URL}", "a digest must have 32, 40, 64 or 128 hexadecimal digits"),
        (f"{EMPTY['md5']}  file.iso", "url must begin with http:// or https://"),
        (f"{URL}\t0", "a line with tabs must have a URL, a size and an MD5 in base64"),
        (f"{URL}\t-1\t1B2M2Y8AsgTpgAmY7PhCfg==", "the size must be a number of bytes"),
        (f"{URL}\t\u0663\t1B2M2Y8AsgTpgAmY7PhCfg==", "the size must be a number of bytes"),
        (f"{URL}\t9999999999999999999\t1B2M2Y8AsgTpgAmY7PhCfg==", "the size must be a number"),
        (f"{URL}\t0\t1B2M2Y8A", "the MD5 must be the base64 of 16 bytes"),
        (f"{URL}\t0\t{EMPTY['md5']}", "the MD5 must be the base64 of 16 bytes"),
        ("TsvHttpData-1.0", "url must begin with http:// or https://"),
        (f"{URL}/{'x' * MAX_LINE_LENGTH}", "a line must have at most 16,384 characters"),
        (" " * 2 * MAX_LINE_LENGTH + URL, "a line must have at most 16,384 characters"),
        (f"{URL:{MAX_LINE_LENGTH}}\r{URL}", "a line must have at most 16,384 characters"),
        ("@urls.txt", "looks like a file name"),
        ("@my urls.txt", "looks like a file name"),
    ],
)
def test_invalid_line_is_named_with_its_rule(line: str, rule: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        read_lines(f"{URL}\n{line}\n")
    assert str(caught.value).startswith("Line 2: ")
    assert rule in str(caught.value)
    assert caught.value.field == "urls"


@pytest.mark.parametrize(
    ("further", "counted"),
    [(0, ""), (1, " 1 more line is invalid."), (3, " 3 more lines are invalid.")],
)
def test_further_invalid_lines_are_counted(further: int, counted: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        read_lines("\n".join([URL, "# nothing", "nope", *["bad"] * further]))
    assert str(caught.value) == f"Line 3: url must begin with http:// or https://.{counted}"


def test_lines_beyond_the_limit_are_counted_but_not_read() -> None:
    """A body of 4 MiB may have millions of them."""
    text = "\n".join(["# list", URL, "", "nope", *["bad"] * 9])
    with pytest.raises(BadRequestError, match=r"Line 4: .* 1 more line is invalid\."):
        read_lines(text, 3)
    reader = LineReader(1)
    reader.feed(text)
    assert len(reader.entries()) == 1
    assert reader.count == 11


TEXT = f"""\ufeffTsvHttpData-1.0\r\n
# a comment\r
{URL}\r
\x85{URL}
{EMPTY["md5"]}  {URL}\n\n{URL}\t0\t1B2M2Y8AsgTpgAmY7PhCfg==\n{URL}"""


@pytest.mark.parametrize("text", [TEXT.replace("\x85", ""), TEXT], ids=["valid", "invalid"])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_list_in_pieces_is_read_as_one(text: str, size: int) -> None:
    def read(pieces: list[str]) -> object:
        reader = LineReader()
        for piece in pieces:
            reader.feed(piece)
        try:
            return reader.entries()
        except BadRequestError as error:
            return str(error)

    assert read([text[at : at + size] for at in range(0, len(text), size)]) == read([text])


def test_nothing_but_the_entries_is_kept() -> None:
    reader = LineReader(most=2)
    tracemalloc.start()
    try:
        for _ in range(64):
            reader.feed(f"{URL}\n{'# comment' * 7000}\n\n{URL}/{'x' * 10_000}\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # of more than 4,600,000 characters


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "TsvHttpData-1.0\n"])
def test_list_without_a_url_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError, match="must have at least one URL"):
        read_lines(text)
