"""Redirects: which answers are one, and where it leads."""

import re
import string
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote

from urllib3 import HTTPResponse

from fetch.errors import FetchError
from tasks.errors import InvalidURLError
from tasks.failure import FailureCode
from tasks.rfc3986 import URLParts
from tasks.url import resolve_url

# RFC 9110 § 15.4: their Location names one place to go.
_ALWAYS = (301, 302, 303, 307, 308)
# The Location of a 305 was a proxy, and a 304 has no other place.
_NEVER = (HTTPStatus.NOT_MODIFIED, HTTPStatus.USE_PROXY)

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def is_redirect(response: HTTPResponse) -> bool:
    """Whether an answer is to be followed. A 300 or an unknown 3xx is, if it has a Location."""
    status = response.status
    if status in _ALWAYS:
        return True
    is_other = 300 <= status < 400 and status not in _NEVER  # noqa: PLR2004
    return is_other and any(response.headers.getlist("Location"))


def redirect_target(url: str, response: HTTPResponse) -> str:
    """Return where a redirect leads. Raises FetchError (`invalid_redirect`) if that is unclear."""
    locations = set(response.headers.getlist("Location"))
    if len(locations) != 1 or locations == {""}:
        raise _invalid_redirect("does not say where to go")
    location = locations.pop()
    if _CONTROL_CHARACTER.search(location):
        raise _invalid_redirect("leads to a URL with control characters")
    try:
        return resolve_url(url, _escape(location))
    except InvalidURLError as error:
        raise _invalid_redirect(f"leads to a URL that {error}") from None
    except UnicodeDecodeError:
        raise _invalid_redirect("leads to a URL that must have a valid host name") from None


def _escape(location: str) -> str:
    """Return a header's value as a URL whose path and query are ASCII, as curl and wget do.

    Spaces and all bytes that are not ASCII are escaped. An authority must be UTF-8.
    """
    parts = URLParts.of(location)
    return str(
        replace(
            parts,
            authority=parts.authority and parts.authority.encode("latin-1").decode(),
            path=_quote(parts.path),
            query=parts.query and _quote(parts.query.replace(" ", "+")),
            fragment=parts.fragment and _quote(parts.fragment),
        )
    )


def _quote(text: str) -> str:
    return quote(text.encode("latin-1"), safe=string.punctuation)


def _invalid_redirect(what: str) -> FetchError:
    return FetchError(FailureCode.INVALID_REDIRECT, f"The server's redirect {what}.")
