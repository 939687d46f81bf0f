"""One safe, bounded, resumable download: the digest of `curl -sfL URL | md5sum`, or an error."""

import re
import string
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote

import requests

from actors.fetch.bounds import Bounds, Limits
from actors.fetch.digest import ReadAheadMD5
from actors.fetch.errors import FetchError
from actors.fetch.transport import Transport, body_of, translated_errors
from tasks.errors import InvalidURLError
from tasks.task import Digest, FailureCode
from tasks.url import resolve_url

REDIRECTS = (301, 302, 303, 307, 308)  # RFC 9110 § 15.4: the ones that name one place to go
LATER = (408, 425, 429)  # the 4xx that may be another answer later
MAX_RETRY_AFTER_SECONDS = 3600.0
# Pauses in seconds before going on after a break; so many in a row may bring nothing.
RESUME_PAUSES = (0.0, 1.0, 3.0)
# Less than this is nothing: an origin that sends a byte per connection gets no more of them.
MIN_PROGRESS_BYTES = 64 * 1024
# Transient, but not to be gone on with at once.
_ENDINGS = (FailureCode.CHANGED_DURING_DOWNLOAD, FailureCode.TOO_SLOW)

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")

# Told the bytes hashed so far and the bytes in all (None: the origin doesn't say).
Progress = Callable[[int, int | None], None]


def download(
    url: str,
    transport: Transport,
    limits: Limits,
    *,
    progress: Progress = lambda _done, _total: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Digest:
    """Fetch the URL and hash the bytes of its body as they are sent.

    Redirects are followed; only 200 counts. After a break the download goes on where it was, if
    the origin can say that the rest belongs to the same version of the file. Raises FetchError,
    and FetchCancelledError once `is_cancelled()` is true.
    """
    transport.bounds = Bounds(limits, is_cancelled)
    with closing(_Download(url, transport, limits, progress)) as under_way:
        return under_way.run()


@dataclass(slots=True)
class _Body:
    """One version of the file: where it is, and what of it has been hashed."""

    url: str
    total: int | None
    coding: str | None  # the Content-Encoding, which is not undone
    validator: str | None  # for If-Range; None: it cannot be gone on with after a break
    md5: ReadAheadMD5 = field(default_factory=ReadAheadMD5)
    size: int = 0


class _Download:
    def __init__(self, url: str, transport: Transport, limits: Limits, progress: Progress) -> None:
        self._url = url
        self._transport = transport
        self._limits = limits
        self._progress = progress
        self._body: _Body | None = None

    def run(self) -> Digest:
        pauses = iter(RESUME_PAUSES)
        size = 0
        while True:
            try:
                return self._read(self._resume() or self._start())
            except FetchError as error:
                if self._body is None or not self._body.validator or error.is_permanent:
                    raise
                if self._body.size >= size + MIN_PROGRESS_BYTES:
                    pauses = iter(RESUME_PAUSES)
                    size = self._body.size
                pause = next(pauses, None)
                if pause is None or error.failure.code in _ENDINGS:
                    raise
                self._transport.bounds.pause(pause)

    def close(self) -> None:
        if self._body is not None:
            self._body.md5.close()

    def _start(self) -> requests.Response:
        """A response whose body is the file, after any redirects."""
        url = self._url
        for _ in range(self._limits.max_redirects + 1):
            response = self._transport.get(url, {})
            if response.status_code == HTTPStatus.OK:
                self._begin_body(url, response)
                return response
            response.close()
            if response.status_code not in REDIRECTS:
                raise _unexpected_status(response)
            url = _redirect_target(url, response)
        raise FetchError(
            FailureCode.TOO_MANY_REDIRECTS,
            f"There were more than {self._limits.max_redirects} redirects.",
            is_permanent=True,
        )

    def _begin_body(self, url: str, response: requests.Response) -> None:
        total = _stated_length(response)
        if _is_part(response, total):
            response.close()
            raise _part_of_a_file()
        if total is not None and total > self._limits.max_bytes:
            response.close()
            raise self._too_large()
        validator = None if total is None else _strong_validator(response)
        self.close()
        self._body = _Body(url, total, response.headers.get("Content-Encoding"), validator)

    def _resume(self) -> requests.Response | None:
        """Return a response whose body is the rest of the file, or None to start it again.

        RFC 9110 § 13.1.5 and § 14.4: only a 206 with the requested range continues the file. A
        200 should be the whole of another version, but some servers send the rest under it, so
        nothing of that answer is used and a request without Range follows.
        """
        body = self._body
        if body is None or body.validator is None:
            return None
        response = self._transport.get(
            body.url, {"Range": f"bytes={body.size}-", "If-Range": body.validator}
        )
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and _continues(response, body):
            return response
        response.close()
        if response.status_code in (
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        ):
            raise _changed()
        error = _unexpected_status(response)
        is_new_start = response.status_code in (HTTPStatus.OK, *REDIRECTS)
        if not error.is_permanent and not is_new_start:
            raise error
        # Start from the first URL: the one that it redirected to may have been valid only once.
        self.close()
        self._body = None
        return None

    def _read(self, response: requests.Response) -> Digest:
        body = self._body
        assert body is not None
        read_into = body_of(response).read_into
        self._transport.bounds.begin_body()
        with closing(response), translated_errors():
            while size := body.md5.read(read_into):
                body.size += size
                if body.size > self._limits.max_bytes:
                    raise self._too_large()
                if body.total is not None and body.size > body.total:
                    raise _changed()
                self._progress(body.size, body.total)
            response.raw.release_conn()
        if body.total not in (None, body.size):
            raise _changed()
        is_length_verified = body.total is not None or bool(response.raw.chunked)
        return Digest(body.md5.hexdigest(), body.size, body.url, is_length_verified)

    def _too_large(self) -> FetchError:
        return FetchError(
            FailureCode.TOO_LARGE,
            f"The file is larger than {self._limits.max_bytes} bytes.",
            is_permanent=True,
        )


def _redirect_target(url: str, response: requests.Response) -> str:
    """Where a redirect leads. Raises FetchError (`invalid_redirect`) when that is unclear."""
    locations = set(response.raw.headers.getlist("Location"))
    if len(locations) != 1 or locations == {""}:
        raise _invalid_redirect("does not say where to go")
    location = _as_text(locations.pop())
    if _CONTROL_CHARACTER.search(location):  # which urljoin would drop
        raise _invalid_redirect("leads to a URL with control characters")
    try:
        return resolve_url(url, location)
    except InvalidURLError as error:
        raise _invalid_redirect(f"leads to a URL that {error}") from None


def _as_text(location: str) -> str:
    """A header's value as a URL: UTF-8, other bytes and spaces escaped, as curl has it."""
    raw = location.encode("latin-1")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = quote(raw, safe=string.punctuation + " ")
    head, mark, query = text.partition("?")
    return head.replace(" ", "%20") + mark + query.replace(" ", "+")


def _invalid_redirect(what: str) -> FetchError:
    return FetchError(
        FailureCode.INVALID_REDIRECT, f"The server's redirect {what}.", is_permanent=True
    )


def _unexpected_status(response: requests.Response) -> FetchError:
    status = response.status_code
    return FetchError(
        FailureCode.HTTP_STATUS,
        f"The server answered {status} instead of 200.",
        is_permanent=400 <= status < 500 and status not in LATER,  # noqa: PLR2004
        http_status=status,
        retry_after=_retry_after(response),
    )


def _retry_after(response: requests.Response) -> float | None:
    """The pause asked for in seconds, at most MAX_RETRY_AFTER_SECONDS; RFC 9110 § 10.2.3."""
    text = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = float(text)
    else:
        moment = _seconds_since_1970(text)
        if moment is None:
            return None
        seconds = moment - time.time()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _stated_length(response: requests.Response) -> int | None:
    """The body's length in bytes by its header, which the connection has found consistent."""
    text = response.headers.get("Content-Length")
    return None if text is None or response.raw.chunked else int(text.partition(",")[0])


def _is_part(response: requests.Response, length: int | None) -> bool:
    """Whether a 200 names a range that is not the whole of its body.

    RFC 9110 § 14.4 gives Content-Range no meaning in a 200, but a server or cache that sends it
    there has probably sent a part of the file.
    """
    text = response.headers.get("Content-Range")
    if text is None:
        return False
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        return True
    first, last, total = map(int, match.groups())
    return (first, last + 1) != (0, total) or length not in (None, total)


def _part_of_a_file() -> FetchError:
    return FetchError(
        FailureCode.PROTOCOL_ERROR,
        "The server answered 200 with a part of the file.",
        is_permanent=True,
    )


def _strong_validator(response: requests.Response) -> str | None:
    """What If-Range may carry, if the origin serves ranges: RFC 9110 § 8.8 and § 13.1.5."""
    if response.headers.get("Accept-Ranges", "").strip().lower() != "bytes":
        return None
    etag = response.headers.get("ETag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{0,1000}"', etag):
        return etag
    last_modified = response.headers.get("Last-Modified", "")
    modified = _seconds_since_1970(last_modified)
    sent = _seconds_since_1970(response.headers.get("Date", ""))
    # A file may change twice in a second, so one that is a second old only says nothing.
    if etag or modified is None or sent is None or sent - modified < 1:
        return None
    return last_modified


def _seconds_since_1970(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):
        return None
    # RFC 9110 § 5.6.7: without a zone it is GMT, too, wherever this machine stands.
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _continues(response: requests.Response, body: _Body) -> bool:
    """Whether a 206 is the rest of this very version."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or body.total is None:
        return False
    is_rest = tuple(map(int, match.groups())) == (body.size, body.total - 1, body.total)
    if response.headers.get("Content-Encoding", body.coding) != body.coding:
        return False
    claims = {response.headers.get("ETag"), response.headers.get("Last-Modified")}
    return is_rest and (body.validator in claims or claims == {None})


def _changed() -> FetchError:
    return FetchError(
        FailureCode.CHANGED_DURING_DOWNLOAD, "The file changed while it was downloaded."
    )
