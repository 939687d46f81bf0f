"""What the headers of an answer state about the file and about the next request."""

import re
import time

from urllib3 import HTTPResponse

from fetch.dates import parse_http_date
from fetch.errors import FetchError
from tasks.failure import FailureCode

LATER = (408, 425, 429)  # the transient 4xx
MAX_RETRY_AFTER_SECONDS = 3600.0

CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


def unexpected_status(response: HTTPResponse) -> FetchError:
    """Return the error that an answer other than a 200 means."""
    status = response.status
    return FetchError(
        FailureCode.HTTP_STATUS,
        f"The server answered {status} instead of 200.",
        is_permanent=400 <= status < 500 and status not in LATER,  # noqa: PLR2004
        http_status=status,
        retry_after=_retry_after(response),
    )


def _retry_after(response: HTTPResponse) -> float | None:
    """Return the requested pause in seconds, up to MAX_RETRY_AFTER_SECONDS: RFC 9110 § 10.2.3."""
    text = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = float(text)
    else:
        moment = parse_http_date(text)
        if moment is None:
            return None
        # Use the server's own Date, because its clock may differ from ours.
        sent = parse_http_date(response.headers.get("Date", ""))
        seconds = moment - (time.time() if sent is None else sent)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def stated_length(response: HTTPResponse) -> int | None:
    """Return the length of the body in its header, which `StrictResponse` has checked."""
    text = response.headers.get("Content-Length")
    return None if text is None or response.chunked else int(text.partition(",")[0])


def is_part(response: HTTPResponse, length: int | None) -> bool:
    """Whether a 200 names a range that is not the whole of its body.

    RFC 9110 § 14.4 gives Content-Range no meaning in a 200, but a server or cache that sends it
    there has probably sent a part of the file. Other units than bytes count something else, such
    as the rows of a database (PostgREST/postgrest#2199).
    """
    text = response.headers.get("Content-Range", "")
    if not re.search(r"\bbytes\b", text, re.IGNORECASE):
        return False
    match = CONTENT_RANGE.fullmatch(text)
    if match is None:
        return True
    first, last, total = map(int, match.groups())
    return (first, last + 1) != (0, total) or length not in (None, total)


def part_of_a_file() -> FetchError:
    return FetchError(
        FailureCode.PROTOCOL_ERROR, "The server answered 200 with a part of the file."
    )


def strong_validator(response: HTTPResponse) -> str | None:
    """Return a validator for If-Range if the origin serves ranges: RFC 9110 § 8.8 and § 13.1.5."""
    if response.headers.get("Accept-Ranges", "").strip().lower() != "bytes":
        return None
    etag = response.headers.get("ETag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{0,1000}"', etag):
        return etag
    last_modified = response.headers.get("Last-Modified", "")
    if not (last_modified.isascii() and last_modified.isprintable()):
        return None  # It could not be sent back.
    modified = parse_http_date(last_modified)
    sent = parse_http_date(response.headers.get("Date", ""))
    # A file may change twice in a second, so the date of a newer one does not identify it.
    if etag or modified is None or sent is None or sent - modified < 1:
        return None
    return last_modified
