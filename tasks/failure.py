"""Why a task failed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class FailureCode(StrEnum):
    """Why a task failed. Each code is one row: its name, its meaning, and when it is retried.

    Codes are stable. `retried` is "no", "yes", or says when. The documentation is generated from
    these rows by `make texts`.
    """

    meaning: str
    retried: str

    def __new__(cls, value: str, meaning: str = "", retried: str = "") -> Self:
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        code.retried = retried
        return code

    BLOCKED_ADDRESS = (
        "blocked_address",
        "The host, or that of a redirect, is not on the public Internet.",
        "no",
    )
    INVALID_REDIRECT = (
        "invalid_redirect",
        "A redirect has no target, or one that would not be accepted as a URL.",
        "no",
    )
    TOO_MANY_REDIRECTS = (
        "too_many_redirects",
        "There were more than `MAX_REDIRECTS` redirects.",
        "no",
    )
    HTTP_STATUS = (
        "http_status",
        "The server did not answer 200.",
        "except after a 4xx other than 408, 425 and 429",
    )
    TOO_LARGE = ("too_large", "The file is larger than `MAX_BYTES`.", "no")
    TLS_ERROR = (
        "tls_error",
        "The certificate was rejected, a client certificate is demanded, or the handshake failed.",
        "only after a failed handshake",
    )
    PROTOCOL_ERROR = ("protocol_error", "The answer is not valid HTTP/1.1.", "no")
    DNS_ERROR = ("dns_error", "The lookup of the host name failed.", "yes")
    CONNECT_ERROR = ("connect_error", "No address of the host accepted a connection.", "yes")
    TIMEOUT = ("timeout", "The server was silent for `READ_TIMEOUT`.", "yes")
    DEADLINE = (
        "deadline",
        "One attempt exceeded `DOWNLOAD_DEADLINE`, or all of them exceeded `DOWNLOAD_BUDGET`.",
        "no",
    )
    TOO_SLOW = ("too_slow", "The download was slower than `MIN_SPEED` for a minute.", "yes")
    INCOMPLETE_BODY = (
        "incomplete_body",
        "The connection ended before the file did.",
        "yes, from where it broke if the server allows it",
    )
    CHANGED_DURING_DOWNLOAD = (
        "changed_during_download",
        "The file changed while it was downloaded.",
        "yes",
    )
    CANCELLED = ("cancelled", "A client cancelled the task.", "no")
    WORKER_LOST = (
        "worker_lost",
        "The worker died during the last of `MAX_ATTEMPTS` attempts.",
        "no",
    )
    INTERNAL_ERROR = (
        "internal_error",
        "Something went wrong on our side. The log has the traceback.",
        "yes",
    )

    @property
    def is_permanent(self) -> bool:
        """Whether another attempt is never made."""
        return self.retried == "no"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed. The message is for its owner: no address, trace or response body in it."""

    code: FailureCode
    message: str
    http_status: int | None = None


CANCELLED = Failure(FailureCode.CANCELLED, "The task was cancelled.")
