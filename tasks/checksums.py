"""The lines of md5sum and its relatives: a digest, and the name of the file."""

import re
from urllib.parse import unquote_to_bytes, urlsplit

from tasks.digests import Algorithm
from tasks.failure import FailureCode
from tasks.rfc3986 import remove_dot_segments
from tasks.step import Status
from tasks.task import Task
from tasks.url import DEFAULT_PORTS, host_to_ascii

# The formats of an export.
FORMATS = ("csv", "ndjson", "md5sum", "sts")
_SKIPPED = (b"", b".")  # segments of a path that name no folder
# Bytes that wget escapes in a file name: controls of ASCII and of ISO 8859, and the slash.
_UNSAFE = re.compile(rb"[\x00-\x1f\x80-\x9f/]")


def filename_of(url: str) -> str:
    """Return the name under which `wget -x` stores the file of a URL: host/path?query.

    The host is in ASCII. Empty segments and dot segments are removed, and a path that ends with a
    slash gets index.html. Escaped bytes are unescaped, except those that a file name should not
    have and those of a segment `..`, as wget does on Unix. Bytes that are not UTF-8 are those of
    `surrogateescape`.
    """
    parts = urlsplit(url)
    host = host_to_ascii(parts.hostname or "")
    if parts.port not in (None, DEFAULT_PORTS.get(parts.scheme)):
        host = f"{host}:{parts.port}"
    path = remove_dot_segments(parts.path) or "/"
    if path.endswith("/"):
        path += "index.html"
    segments = [each for each in path.split("/") if unquote_to_bytes(each) not in _SKIPPED]
    name = "/".join([host, *map(_safe, segments)])
    has_query = "?" in url.partition("#")[0]  # which may be empty
    return f"{name}?{_safe(parts.query)}" if has_query else name


def _safe(text: str) -> str:
    unquoted = unquote_to_bytes(text)
    if unquoted == b"..":
        return "%2E%2E"
    escaped = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], unquoted)
    return escaped.decode(errors="surrogateescape")


def error_of(task: Task) -> str:
    """Return why a task failed: the code, with the status for http_status."""
    if task.failure is None or task.status is not Status.FAILED:
        return ""
    status = task.failure.http_status
    is_status = task.failure.code is FailureCode.HTTP_STATUS and status is not None
    return f"{task.failure.code} {status}" if is_status else str(task.failure.code)


def sum_line(task: Task, algorithm: Algorithm, *, is_named_by_url: bool) -> str:
    """Return a line of md5sum. It escapes a backslash or a line break in a name."""
    text = task.digest.hexdigests.get(algorithm) if task.digest else None
    if text is None:
        reason = error_of(task) or f"no {algorithm}"
        return f"# failed: {reason} {task.url}\n"
    name = task.url if is_named_by_url else filename_of(task.url)
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{text}  {escaped}\n"
