"""One safe, bounded, resumable download: the digest of `curl -sfL URL | md5sum`, or an error."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from urllib3 import HTTPResponse

from fetch.answer import (
    CONTENT_RANGE,
    is_part,
    part_of_a_file,
    stated_length,
    strong_validator,
    unexpected_status,
)
from fetch.bounds import Bounds, Limits
from fetch.cookies import CookieJar
from fetch.declared import Declared, read_declared
from fetch.digest import ReadAheadHash
from fetch.errors import FetchError
from fetch.redirects import is_redirect, redirect_target
from fetch.resume import Patience
from fetch.transport import Transport, body_of, translated_errors
from tasks.digests import ALWAYS, Algorithm, Digest
from tasks.failure import FailureCode

# Takes the bytes hashed so far and the total, or None if the origin does not state it.
Progress = Callable[[int, int | None], None]


def download(  # noqa: PLR0913  most have defaults
    url: str,
    transport: Transport,
    limits: Limits,
    *,
    algorithms: Sequence[Algorithm] = ALWAYS,
    progress: Progress = lambda _done, _total: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    on_break: Callable[[FetchError], None] = lambda _error: None,
) -> Digest:
    """Fetch the URL and hash the bytes of its body as they are sent.

    Redirects are followed, and only a 200 counts. After a break the download resumes if the origin
    can prove that the rest belongs to the same version of the file. Before each resume, `on_break`
    is called with the error that interrupted the download. Raises FetchError, and
    FetchCancelledError once `is_cancelled()` is true.
    """
    transport.bounds = Bounds(limits, is_cancelled)
    with closing(_Download(url, transport, limits, progress, on_break, algorithms)) as under_way:
        return under_way.run()


@dataclass(slots=True)
class _Body:
    """One version of the file: its URL, and the part of it that is hashed."""

    url: str
    total: int | None
    coding: str | None  # the Content-Encoding, which is not decoded
    validator: str | None  # for If-Range; without one a download cannot resume
    hash: ReadAheadHash
    declared: Declared
    size: int = 0


class _Download:
    def __init__(  # noqa: PLR0913, PLR0917  those of `download`
        self,
        url: str,
        transport: Transport,
        limits: Limits,
        progress: Progress,
        on_break: Callable[[FetchError], None],
        algorithms: Sequence[Algorithm],
    ) -> None:
        self._url = url
        self._transport = transport
        self._limits = limits
        self._progress = progress
        self._on_break = on_break
        self._algorithms = algorithms
        self._cookies = CookieJar()
        self._patience = Patience()
        self._body: _Body | None = None
        self._has_answer = False

    def run(self) -> Digest:
        while True:
            try:
                return self._read(self._resume() or self._start())
            except FetchError as error:
                is_blocked = error.failure.code is FailureCode.BLOCKED_ADDRESS
                error.is_refused_url = is_blocked and not self._has_answer
                if self._body is None or not self._body.validator or error.is_permanent:
                    raise
                pause = self._patience.pause_after(error, self._body.size)
                if pause is None:
                    raise
                self._body.hash.pause()
                self._on_break(error)
                self._transport.bounds.pause(pause)

    def close(self) -> None:
        if self._body is not None:
            self._body.hash.close()

    def _start(self) -> HTTPResponse:
        """Return a response whose body is the file, after any redirects."""
        url = self._url
        for _ in range(self._limits.max_redirects + 1):
            response = self._get(url, {})
            self._has_answer = True
            if response.status == HTTPStatus.OK:
                self._begin_body(url, response)
                return response
            response.close()
            if not is_redirect(response):
                raise self._unexpected_status(url, response)
            url = redirect_target(url, response)
        raise FetchError(
            FailureCode.TOO_MANY_REDIRECTS,
            f"There were more than {self._limits.max_redirects} redirects.",
        )

    def _unexpected_status(self, url: str, response: HTTPResponse) -> FetchError:
        error = unexpected_status(response)
        error.is_of_other_host = urlsplit(url).hostname != urlsplit(self._url).hostname
        return error

    def _get(self, url: str, headers: Mapping[str, str]) -> HTTPResponse:
        cookie = self._cookies.header(url)
        response = self._transport.get(url, {**headers, "Cookie": cookie} if cookie else headers)
        self._cookies.store(url, response.headers.getlist("Set-Cookie"))
        return response

    def _begin_body(self, url: str, response: HTTPResponse) -> None:
        total = stated_length(response)
        if is_part(response, total):
            response.close()
            raise part_of_a_file()
        if total is not None and total > self._limits.max_bytes:
            response.close()
            raise self._too_large()
        validator = None if total is None else strong_validator(response)
        self.close()
        coding = response.headers.get("Content-Encoding")
        ahead, declared = ReadAheadHash(self._algorithms), read_declared(response)
        self._body = _Body(url, total, coding, validator, ahead, declared)

    def _resume(self) -> HTTPResponse | None:
        """Return a response whose body is the rest of the file, or None to start it again.

        RFC 9110 § 13.1.5 and § 14.4: only a 206 with the requested range continues the file. A
        200 should be the whole of another version, but some servers send the rest under it, so
        nothing of that answer is used and a request without Range follows.
        """
        body = self._body
        if body is None or body.validator is None:
            return None
        headers = {"Range": f"bytes={body.size}-", "If-Range": body.validator}
        response = self._get(body.url, headers)
        is_rest = response.status == HTTPStatus.PARTIAL_CONTENT and _is_rest(response, body)
        validators = _validators(response)
        # RFC 9110 § 15.3.7: a 206 must repeat the ETag of the 200, but may omit its Last-Modified.
        # A server that omits the ETag may ignore If-Range and send the rest of another version.
        is_unproven = is_rest and not validators and body.validator.startswith('"')
        if is_rest and not is_unproven and (not validators or body.validator in validators):
            return response
        response.close()
        if not is_unproven and response.status in (
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        ):
            raise _changed()
        error = self._unexpected_status(body.url, response)
        is_new_start = is_unproven or response.status == HTTPStatus.OK or is_redirect(response)
        if not error.is_permanent and not is_new_start:
            raise error
        # Start from the first URL: the one that it redirected to may have been valid only once.
        self._patience.note_restart()
        self.close()
        self._body = None
        return None

    def _read(self, response: HTTPResponse) -> Digest:
        body = self._body
        assert body is not None
        answer = body_of(response)
        read_into = answer.read_into
        self._transport.bounds.begin_body()
        with closing(response), translated_errors():
            while size := body.hash.read(read_into):
                body.size += size
                if body.size + answer.surplus_framing > self._limits.max_bytes:
                    raise self._too_large()
                if body.total is not None and body.size > body.total:
                    raise _changed()
                self._progress(body.size, body.total)
            response.release_conn()
        if body.total not in (None, body.size):
            raise _changed()
        is_length_verified = body.total is not None or bool(response.chunked)
        hexdigests = body.hash.hexdigests()
        declared = body.declared.about(hexdigests)
        return Digest(hexdigests, body.size, body.url, is_length_verified, declared)

    def _too_large(self) -> FetchError:
        return FetchError(
            FailureCode.TOO_LARGE, f"The file is larger than {self._limits.max_bytes} bytes."
        )


def _is_rest(response: HTTPResponse, body: _Body) -> bool:
    """Whether a 206 is the rest of a file of the same length and coding."""
    if body_of(response).doubtful_fields:
        return False
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or body.total is None:
        return False
    if response.headers.get("Content-Encoding", body.coding) != body.coding:
        return False
    return tuple(map(int, match.groups())) == (body.size, body.total - 1, body.total)


def _validators(response: HTTPResponse) -> set[str]:
    headers = response.headers
    return {headers[name] for name in ("ETag", "Last-Modified") if name in headers}


def _changed() -> FetchError:
    return FetchError(
        FailureCode.CHANGED_DURING_DOWNLOAD, "The file changed while it was downloaded."
    )
