"""What a worker counts and measures. Each metric is one row."""

from tasks.failure import FailureCode
from tasks.outcome import Delayed, Failed, Outcome, RetryLater, Succeeded
from tasks.step import Status, StepKind
from telemetry.metrics import Counter, Gauge, Histogram

_MAIL_OUTCOMES: dict[type[Outcome], str] = {
    Succeeded: "sent",
    Failed: "refused",
    RetryLater: "retried",
    Delayed: "delayed",
}
_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28800)
_DOWNLOADS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 28800)

queue_wait = Histogram(
    "md5_light_queue_wait_seconds",
    "From the submission of a task to the claim of its first attempt.",
    buckets=_WAITS,
)
download_seconds = Histogram(
    "md5_light_download_seconds",
    "How long downloads took, including failed ones.",
    buckets=_DOWNLOADS,
)
download_bytes = Counter("md5_light_download_bytes_total", "Bytes downloaded and hashed.")
ended = Counter(
    "md5_light_tasks_ended_total",
    "Tasks done or failed. The code says why.",
    ["status", "code"],
    series=[(Status.DONE, ""), *((Status.FAILED, code) for code in FailureCode)],
)
retries = Counter(
    "md5_light_retries_total",
    "Attempts that will be repeated.",
    ["code"],
    series=[(code,) for code in FailureCode],
)
mails = Counter(
    "md5_light_mails_total",
    "Attempts to send a mail.",
    ["outcome"],
    series=[(outcome,) for outcome in _MAIL_OUTCOMES.values()],
)
repairs = Counter(
    "md5_light_sweeper_repairs_total",
    "Messages sent again, and leases taken away.",
    ["kind"],
    series=[("message",), ("lease",)],
)
trimmed = Counter(
    "md5_light_tasks_trimmed_total",
    "Settled tasks removed early because of MAX_STORED.",
)
claims_lost = Counter("md5_light_claims_lost_total", "Claims that a worker found to be gone.")
broker_up = Gauge(
    "md5_light_broker_up",
    "Whether every process can use the broker. 1 if the workers are inside the service.",
)

download_threads = Gauge(
    "md5_light_download_threads",
    "Threads for single downloads, in all worker processes. Lanes have threads of their own.",
    mode="livesum",
)

# `broker_up` is started by the processes that use a broker, as the lowest value counts.
METRICS = (
    queue_wait,
    download_seconds,
    download_bytes,
    ended,
    retries,
    mails,
    repairs,
    trimmed,
    claims_lost,
    download_threads,
)


def record_outcome(kind: StepKind, outcome: Outcome) -> None:
    """Count what an attempt at a download or a mail came to, unless it was given back."""
    if kind is StepKind.SEND_EMAIL and type(outcome) in _MAIL_OUTCOMES:
        mails.inc(_MAIL_OUTCOMES[type(outcome)])
    if kind is not StepKind.COMPUTE_MD5:
        return
    match outcome:
        case Succeeded():
            ended.inc(Status.DONE, "")
        case Failed(failure) if failure is not None:
            ended.inc(Status.FAILED, failure.code)
        case RetryLater(_, failure) if failure is not None:
            retries.inc(failure.code)
