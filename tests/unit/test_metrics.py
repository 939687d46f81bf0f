import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from settings import Settings
from tasks.failure import FailureCode
from tasks.outcome import Delayed, Failed, GivenBack, Outcome, RetryLater, Succeeded
from tasks.step import Status, StepKind
from tasks.stores.sqlite import SQLiteStore
from telemetry.exporter import Exporter, set_up
from tests.examples import (
    DIGEST,
    FAILURE,
    LEASE,
    NOW,
    PAUSE,
    RETENTION,
    insert,
    make_task,
    with_attempt,
)
from tests.fakes import RecordingBroker
from worker import metrics
from worker.broker import broker_availability
from worker.leases import Claim
from worker.publisher import Dispatcher
from worker.sweeper import Sweeper

SECOND = timedelta(seconds=1)
RUNNING = make_task().claimed(NOW, LEASE)

Values = dict[str, float]


@pytest.fixture(scope="module")
def exporter() -> Exporter:
    """The exporter of this process."""
    return set_up(*metrics.METRICS, metrics.broker_up)


def read(exporter: Exporter) -> Values:
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exporter.render().decode())
        for sample in family.samples
    }


@pytest.fixture
def changes(exporter: Exporter) -> Callable[[], Values]:
    """Tells what has been counted meanwhile."""
    before = read(exporter)
    return lambda: {
        name: value - before.get(name, 0)
        for name, value in read(exporter).items()
        if value != before.get(name, 0)
    }


@pytest.mark.parametrize(
    ("kind", "outcome", "counted"),
    [
        (StepKind.COMPUTE_MD5, Succeeded(DIGEST), "md5_light_tasks_ended_total  done"),
        (
            StepKind.COMPUTE_MD5,
            Failed(FAILURE),
            f"md5_light_tasks_ended_total {FAILURE.code} failed",
        ),
        (
            StepKind.COMPUTE_MD5,
            RetryLater(PAUSE, FAILURE),
            f"md5_light_retries_total {FAILURE.code}",
        ),
        (StepKind.COMPUTE_MD5, GivenBack(), None),
        (StepKind.SEND_EMAIL, Succeeded(), "md5_light_mails_total sent"),
        (StepKind.SEND_EMAIL, Failed(), "md5_light_mails_total refused"),
        (StepKind.SEND_EMAIL, RetryLater(PAUSE), "md5_light_mails_total retried"),
        (StepKind.SEND_EMAIL, Delayed(PAUSE), "md5_light_mails_total delayed"),
        (StepKind.SEND_EMAIL, GivenBack(), None),
        (StepKind.RUN_BATCH, Succeeded(), None),
        (StepKind.RUN_LANE, Succeeded(), None),
    ],
)
def test_outcomes_are_counted(
    kind: StepKind, outcome: Outcome, counted: str | None, changes: Callable[[], Values]
) -> None:
    metrics.record_outcome(kind, outcome)
    assert changes() == ({counted: 1} if counted else {})


def test_repairs_are_counted_by_what_was_repaired(
    store: SQLiteStore, changes: Callable[[], Values]
) -> None:
    now = store.now()
    forgotten = make_task(now=now)
    failed_before = RUNNING.ended(RetryLater(PAUSE, FAILURE), now, retention=RETENTION)
    running = make_task(now=now).claimed(now, LEASE)
    last = with_attempt(running, StepKind.COMPUTE_MD5, 2)
    for number, task in enumerate((forgotten, failed_before, running, last)):
        insert(store, replace(task, id=f"task {number}", wake_at=now - SECOND))
    settings = Settings(rabbitmq_url="amqp://elsewhere", max_attempts=2, lease=1e-9)
    sweeper = Sweeper(store, Dispatcher(RecordingBroker(), store, broker_availability()), settings)

    assert sweeper.sweep() == 4

    assert changes() == {
        "md5_light_sweeper_repairs_total message": 1,
        "md5_light_sweeper_repairs_total lease": 2,
        f"md5_light_tasks_ended_total {FailureCode.WORKER_LOST} {Status.FAILED}": 1,
    }


def test_process_that_has_ended_reports_nothing_about_the_broker(exporter: Exporter) -> None:
    own = exporter.folder / f"gauge_livemin_{os.getpid()}.db"
    metrics.broker_up.set(0)
    assert read(exporter)["md5_light_broker_up"] == 0
    ended = subprocess.Popen(["true"])
    ended.wait()
    others = own.with_name(f"gauge_livemin_{ended.pid}.db")
    others.write_bytes(own.read_bytes())
    metrics.broker_up.set(1)
    assert read(exporter)["md5_light_broker_up"] == 1
    assert not others.exists()


def test_threads_of_a_process_that_has_ended_do_not_count(exporter: Exporter) -> None:
    own = exporter.folder / f"gauge_livesum_{os.getpid()}.db"
    metrics.download_threads.set(8)
    ended = subprocess.Popen(["true"])
    others = own.with_name(f"gauge_livesum_{ended.pid}.db")
    others.write_bytes(own.read_bytes())
    assert read(exporter)["md5_light_download_threads"] == 16  # it is a zombie, not yet gone
    ended.wait()
    assert read(exporter)["md5_light_download_threads"] == 8
    assert not others.exists()


def test_a_lost_claim(store: SQLiteStore, changes: Callable[[], Values]) -> None:
    Claim(store, RUNNING, LEASE).renew()
    assert changes() == {"md5_light_claims_lost_total": 1}
