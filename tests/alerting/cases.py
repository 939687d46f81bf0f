"""What Prometheus has scraped in each case, and which alerts fire then."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.alerting.series import (
    DAY,
    SCRAPES,
    SERVICE,
    WORKERS,
    beginning,
    ending,
    idle_worker,
    interrupted,
    of,
    prolonged,
    removed,
    rising,
    service,
    steady,
    system,
    worker,
)


@dataclass(frozen=True, slots=True)
class Case:
    """What Prometheus has scraped, and which alerts fire after some minutes.

    `labels` are those of the alerts besides `severity`; `value` is the one in their summary.
    """

    series: Mapping[str, str]
    fires: tuple[str, ...] = ()
    at: int = 40
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    every: str = "1m"  # how often the rules are evaluated


FIRST, SECOND = WORKERS
SERVICE_LABELS = {"job": "service", "instance": "service:9100"}
FIRST_LABELS = {"job": "worker", "instance": "10.0.0.1:9100"}
OTHER_SERVICE = 'job="service",instance="other:9100"'
REQUESTS = "http_request_seconds_count"
STORED, STORED_MAX = of(SERVICE, "tasks_stored"), of(SERVICE, "tasks_stored_max")

STALLED = {
    **service(),
    **idle_worker(FIRST),
    **idle_worker(SECOND),
    of(SERVICE, "tasks", state="queued"): steady(5),
}
# A counter that counts once in the 20th minute, and one that does so in its first scrape.
ONCE = f"0+0x80 1+0x{SCRAPES}"
CRASH = of(FIRST, "tasks_ended_total", status="failed", code="worker_lost")
CRASHED = ("MD5LightTasksCrash",)
LOST = {"code": "worker_lost"}


def age(state: str) -> str:
    return of(SERVICE, "oldest_task_age_seconds", state=state)


def mails(outcome: str, labels: str = FIRST) -> str:
    return of(labels, "mails_total", outcome=outcome)


def refused(reason: str) -> str:
    return of(SERVICE, "submissions_refused_total", reason=reason)


NO_MAILS = {mails("sent", each): steady(5) for each in WORKERS}
FEW_DOWNLOADS = {of(each, "download_seconds_count"): "0+0x120 0+1x5 5+0x200" for each in WORKERS}

CASES = {
    # Healthy systems.
    "a healthy system": Case(system()),
    "a healthy system that has just started": Case(beginning(system(), 4), at=4, every="15s"),
    "a healthy service with its workers inside": Case(service(threads=8)),
    "a scrape of everything is missing": Case(interrupted(system(), 100, 1), at=26, every="15s"),
    "a scrape of everything was missing": Case(interrupted(system(), 100, 1)),
    "everything has restarted": Case({**removed(system(), 100), **beginning(system(), 102)}),
    # Processes.
    "the service is gone": Case(system() | ending(service(), 100), ("MD5LightServiceGone",), at=28),
    "the service is gone for long": Case(
        system() | ending(service(), 100),
        ("MD5LightServiceGone", "MD5LightProcessGone"),
        labels=SERVICE_LABELS,
    ),
    "the service and its target are gone": Case(
        system() | removed(service(), 100), ("MD5LightServiceGone",)
    ),
    "the service restarts": Case(system() | interrupted(service(), 100, 4), at=27, every="15s"),
    "there are workers only": Case({**worker(FIRST), **worker(SECOND)}, ("MD5LightServiceGone",)),
    "there is nothing": Case({}, ("MD5LightServiceGone",)),
    "one of two services is gone": Case(
        system() | ending(service(OTHER_SERVICE), 100),
        ("MD5LightProcessGone",),
        labels={"job": "service", "instance": "other:9100"},
    ),
    "one of two workers is gone": Case(
        system() | ending(worker(FIRST), 100), ("MD5LightProcessGone",), labels=FIRST_LABELS
    ),
    "one of two workers has been removed": Case(system() | removed(worker(FIRST), 100)),
    "a target of another program is gone": Case(
        system() | {'up{job="other",instance="other:1"}': steady(0)}
    ),
    "all workers have been removed": Case(
        system() | removed(worker(FIRST), 100) | removed(worker(SECOND), 100),
        ("MD5LightNoWorker",),
    ),
    "all workers restart": Case(
        system() | interrupted(worker(FIRST), 100, 4) | interrupted(worker(SECOND), 100, 4),
        at=27,
        every="15s",
    ),
    "there was no worker from the start": Case(service(), ("MD5LightNoWorker",)),
    # The store and the broker.
    "the store is down": Case(
        system() | {of(SERVICE, "store_up"): steady(0)},
        ("MD5LightStoreDown",),
        labels=SERVICE_LABELS,
    ),
    "the store was down for half a minute": Case(
        system() | {of(SERVICE, "store_up"): "1+0x100 0+0x1 1+0x200"}, at=26, every="15s"
    ),
    "the broker is down for a worker": Case(
        system() | {of(FIRST, "broker_up"): steady(0)}, ("MD5LightBrokerDown",), labels=FIRST_LABELS
    ),
    "the broker was down for half a minute": Case(
        system() | {of(FIRST, "broker_up"): "1+0x100 0+0x1 1+0x200"}, at=26, every="15s"
    ),
    # Tasks and batches.
    "tasks are overdue": Case(
        system() | {of(SERVICE, "tasks_overdue"): steady(3)}, ("MD5LightTasksOverdue",), value="3"
    ),
    "tasks were overdue for four minutes": Case(
        system() | {of(SERVICE, "tasks_overdue"): "0+0x100 3+0x15 0+0x200"}, at=29, every="15s"
    ),
    "tasks wait for a worker": Case(
        system()
        | {
            of(each, "queue_wait_seconds_bucket", le=le): rising(1)
            for each in WORKERS
            for le in ("60", "300")
        },
        ("MD5LightQueueSlow",),
    ),
    "tasks are queued and nothing starts": Case(
        prolonged(STALLED), ("MD5LightNothingStarts",), at=75
    ),
    "nothing has started for an hour": Case(prolonged(STALLED), at=65),
    "all threads are at one large download": Case(
        prolonged(STALLED | {of(FIRST, "download_bytes_total"): rising(1e6)}), at=75
    ),
    "there is nothing to do": Case(
        prolonged({**service(), **idle_worker(FIRST), **idle_worker(SECOND)}), at=75
    ),
    "a running task is old": Case(
        system() | {age("running"): f"{DAY + 1}+15x{SCRAPES}"},
        ("MD5LightOldTask",),
        labels={"state": "running"},
    ),
    "a queued task becomes old": Case(
        system() | {age("queued"): f"{DAY - 600}+15x{SCRAPES}"},
        ("MD5LightOldTask",),
        labels={"state": "queued"},
    ),
    "a task is nearly old": Case(system() | {age("queued"): steady(DAY - 1)}),
    "a mail waits for three days": Case(
        system() | {age("mailing"): steady(3 * DAY)},
        ("MD5LightOldMail",),
        labels={"state": "mailing"},
    ),
    "a mail waits for 47 hours": Case(system() | {age("mailing"): steady(2 * DAY - 3600)}),
    "a batch is idle": Case(
        system() | {of(SERVICE, "batch_idle_seconds"): f"6000+15x{SCRAPES}"},
        ("MD5LightBatchIdle",),
    ),
    "a batch rests for an hour": Case(system() | {of(SERVICE, "batch_idle_seconds"): steady(3700)}),
    # Crashes.
    "a task crashes": Case(system() | {CRASH: ONCE}, CRASHED, at=25, labels=LOST),
    "a task crashed 20 minutes ago": Case(system() | {CRASH: ONCE}),
    "a task crashes around a missing scrape": Case(
        system() | {CRASH: f"0+0x79 _ 1+0x{SCRAPES}"}, CRASHED, at=25, labels=LOST
    ),
    "a task has crashed before the first scrape of a new worker": Case(
        system()
        | beginning(worker('job="worker",instance="10.0.0.3:9100"') | {CRASH: steady(1)}, 100),
        CRASHED,
        at=28,
        labels=LOST,
    ),
    "a series begins with its first event": Case(
        system() | {CRASH: f"_x100 1+0x{SCRAPES}"}, CRASHED, at=28, labels=LOST
    ),
    "a worker restarts after a crash, and its counters with it": Case(
        system() | {CRASH: "5+0x100 stale _x3 0+0x200"}
    ),
    "a task crashes after a restart": Case(
        system() | {CRASH: "5+0x100 stale _x3 0+0x9 1+0x200"}, CRASHED, at=31, labels=LOST
    ),
    "a worker with an old crash was out of reach for ten minutes": Case(
        system() | interrupted(worker(FIRST) | {CRASH: steady(5)}, 40, 40), at=32
    ),
    "a bug": Case(
        system() | {of(SERVICE, "tasks_ended_total", status="failed", code="internal_error"): ONCE},
        CRASHED,
        at=25,
        labels={"code": "internal_error"},
    ),
    "a worker with eight downloads is killed": Case(
        system() | {of(SECOND, "sweeper_repairs_total", kind="lease"): "0+0x80 0+8x1 8+0x200"},
        ("MD5LightWorkersDie",),
    ),
    "a lease has expired": Case(
        system() | {of(SECOND, "sweeper_repairs_total", kind="lease"): ONCE}
    ),
    # The network, mails.
    "no download can connect": Case(
        system() | {of(each, "retries_total", code="dns_error"): rising(35) for each in WORKERS},
        ("MD5LightNetworkDown",),
    ),
    "some downloads cannot connect": Case(
        system() | {of(FIRST, "retries_total", code="connect_error"): rising(35)}
    ),
    "all of few downloads cannot connect": Case(
        system()
        | FEW_DOWNLOADS
        | {of(each, "retries_total", code="dns_error"): "0+0x120 0+1x5 5+0x200" for each in WORKERS}
    ),
    "no mail can be sent": Case(
        system() | NO_MAILS | {mails("retried"): rising(1)}, ("MD5LightMailsFail",)
    ),
    "every mail is refused": Case(
        system() | NO_MAILS | {mails("refused"): rising(1)}, ("MD5LightMailsFail",)
    ),
    "some mails are refused": Case(system() | {mails("refused"): rising(1)}),
    "there are no mails": Case(system() | NO_MAILS),
    # Requests and limits.
    "2 % of the requests fail": Case(
        system() | {of(SERVICE, REQUESTS, route="/submit", status="5xx"): rising(2)},
        ("MD5LightServerErrors",),
    ),
    "one request in a thousand fails": Case(
        system() | {of(SERVICE, REQUESTS, route="/submit", status="5xx"): rising(0.1)}
    ),
    "only the check of a balancer fails": Case(
        system() | {of(SERVICE, REQUESTS, route="/health/ready", status="5xx"): rising(50)}
    ),
    "too many tasks are unfinished": Case(
        system() | {refused("too_many_unfinished"): "0+0x120 0+9x200"},
        ("MD5LightTooManyUnfinished",),
    ),
    "too many tasks were unfinished": Case(system() | {refused("too_many_unfinished"): ONCE}),
    "a client goes on over its limit": Case(
        system() | {refused("rate_limited"): rising(10)}, ("MD5LightClientsLimited",)
    ),
    "a client meets its limit": Case(system() | {refused("rate_limited"): rising(0.5)}),
    "many connections are refused": Case(
        system() | {of(SERVICE, "connections_refused_total"): rising(5)},
        ("MD5LightConnectionsRefused",),
    ),
    "a few connections are refused": Case(
        system() | {of(SERVICE, "connections_refused_total"): "0+0x120 0+1x5 5+0x200"}
    ),
    # Space.
    "the disk is nearly full": Case(
        system() | {of(SERVICE, "disk_free_bytes"): steady(5e9)},
        ("MD5LightDiskNearlyFull",),
        value="5%",
    ),
    "the disk is half full": Case(system() | {of(SERVICE, "disk_free_bytes"): steady(50e9)}),
    "the store does not report its disk": Case(
        {name: values for name, values in system().items() if "md5_light_disk_" not in name}
    ),
    "MAX_STORED is near": Case(
        system() | {STORED: steady(9100)}, ("MD5LightStoreNearlyFull",), value="9.1k"
    ),
    "MAX_STORED is unlimited": Case(system() | {STORED: steady(1e7), STORED_MAX: steady(0)}),
    "results are removed": Case(
        system() | {of(FIRST, "tasks_trimmed_total"): rising(500)}, ("MD5LightResultsRemoved",)
    ),
}
