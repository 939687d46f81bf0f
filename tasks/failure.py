"""Why a task failed."""

from dataclasses import dataclass
from enum import StrEnum


class FailureCode(StrEnum):
    """Why a task failed: stable, and documented in the README."""

    BLOCKED_ADDRESS = "blocked_address"
    INVALID_REDIRECT = "invalid_redirect"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    HTTP_STATUS = "http_status"
    TOO_LARGE = "too_large"
    TLS_ERROR = "tls_error"
    PROTOCOL_ERROR = "protocol_error"
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    TOO_SLOW = "too_slow"
    INCOMPLETE_BODY = "incomplete_body"
    CHANGED_DURING_DOWNLOAD = "changed_during_download"
    WORKER_LOST = "worker_lost"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed. The message is for its owner: no address, trace or response body in it."""

    code: FailureCode
    message: str
    http_status: int | None = None
