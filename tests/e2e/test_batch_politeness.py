"""How many downloads of a batch run against one host at a time."""

from collections.abc import Callable, Mapping

import pytest

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.rabbitmq import RabbitMQ
from devtools.waiting import wait_for
from service.batch import MESSAGES
from tasks.step import StepKind
from tests.e2e.batches import (
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    CrowdedOrigin,
    RestingOrigin,
    names_of_host,
    submit_list,
    wait_for_batch,
    wait_until_some_are_done,
)

Serve = Callable[[Mapping[str, bytes]], Origin]


def names(prefix: str, count: int) -> list[str]:
    return [f"/{prefix}{number}" for number in range(count)]


def test_a_crowded_host_is_asked_by_few_at_a_time(system: System) -> None:
    with CrowdedOrigin(4, 0.01) as origin:
        service = system.start()
        batch_id = submit_list(service, [f"{origin.base}/{number}" for number in range(1000)])
        body = wait_for_batch(service, batch_id)
    assert body["tasks"]["done"] == 1000
    assert origin.refused == 0, "never more than four at a time"


@pytest.mark.parametrize("status", [TOO_MANY_REQUESTS, UNAVAILABLE])
def test_a_host_that_asks_for_a_rest_gets_it(system: System, status: str) -> None:
    with RestingOrigin(6, status) as origin:
        service = system.start()
        batch_id = submit_list(service, [f"{origin.base}{path}" for path in names("", 1000)])
        body = wait_for_batch(service, batch_id)
    assert body["tasks"]["done"] == 1000
    assert len(origin.requests) == 1001, "the rest cost no attempt of another member"
    seconds_after = [moment - origin.refused_at for moment in origin.moments]
    # Those that were under way at the refusal may still arrive.
    assert not [seconds for seconds in seconds_after if 3 < seconds < 5.8]
    assert len([seconds for seconds in seconds_after if seconds >= 5.8]) > 500


def test_a_crowded_host_is_asked_by_few_after_kills_of_several_processes(
    distributed: System,
) -> None:
    with CrowdedOrigin(4, 0.05) as origin:
        distributed.start_workers(processes=2, threads=8)
        service = distributed.start_service()
        batch_id = submit_list(service, [f"{origin.base}{path}" for path in names("", 300)])
        for done in (50, 150):
            wait_until_some_are_done(service, batch_id, done)
            distributed.workers.kill()
            distributed.start_workers(processes=2, threads=8)
        body = wait_for_batch(service, batch_id)
    assert body["tasks"]["done"] == 300
    assert origin.refused == 0, "never more than four at a time"


def test_batches_on_one_host_have_a_share_each(distributed: System, serve: Serve) -> None:
    files = {path: b"file" for prefix in "ab" for path in names(prefix, 20)}
    origin = serve(files)
    origin.may_finish.clear()
    distributed.start_workers(threads=12)
    service = distributed.start_service(BATCH_PER_HOST="3")
    batches = [
        submit_list(service, [f"{origin.base}{path}" for path in names(prefix, 20)])
        for prefix in "ab"
    ]
    for prefix in "ab":
        wait_for(lambda prefix=prefix: len(begun(origin, prefix)) == 3)  # type: ignore[misc]
    assert len(origin.requests) == 6
    origin.may_finish.set()
    for batch_id in batches:
        assert wait_for_batch(service, batch_id)["tasks"]["done"] == 20


def begun(origin: Origin, prefix: str) -> set[str]:
    return {path for path in origin.requests if path.startswith(f"/{prefix}")}


def test_a_slow_host_leaves_the_other_threads_to_the_others(embedded: System, serve: Serve) -> None:
    files = dict.fromkeys(names("", 100), b"file")
    slow, fast = serve(files), serve(files)
    slow.may_finish.clear()
    embedded.environ["READ_TIMEOUT"] = "1h"
    service = embedded.start()
    other_host = names_of_host(fast)[1]
    lines = [f"{base}{path}" for path in files for base in (slow.base, other_host)]
    batch_id = submit_list(service, lines)
    wait_until_some_are_done(service, batch_id, 100)
    assert set(fast.requests) == set(files)
    assert len(slow.requests) == 4
    slow.may_finish.set()
    assert wait_for_batch(service, batch_id)["tasks"]["done"] == 200


def test_a_host_continues_while_a_slow_one_has_all_threads_that_it_can_get(
    system: System, serve: Serve
) -> None:
    """Here each host may have as many lanes as a worker has threads."""
    files = dict.fromkeys(names("", 300), b"file")
    slow, fast = serve(files), serve(files)
    slow.may_finish.clear()
    system.environ |= {"BATCH_PER_HOST": "10", "READ_TIMEOUT": "1h"}
    service = system.start()
    lines = [f"{slow.base}{path}" for path in names("", 40)]
    other_host = names_of_host(fast)[1]
    batch_id = submit_list(service, [*lines, *(f"{other_host}{path}" for path in files)])
    wait_until_some_are_done(service, batch_id, len(files))
    # So does a batch that comes later, behind another one of the slow host.
    submit_list(service, [f"{line}?later" for line in lines])
    wait_for(lambda: len(set(slow.requests)) == 20)
    last_id = submit_list(service, [f"{other_host}{path}?again" for path in files])
    assert wait_for_batch(service, last_id)["tasks"]["done"] == len(files)
    slow.may_finish.set()
    assert wait_for_batch(service, batch_id)["tasks"]["done"] == len(lines) + len(files)


def test_without_a_limit_a_batch_has_as_many_downloads_as_it_can(
    distributed: System, serve: Serve
) -> None:
    files = dict.fromkeys(names("", 40), b"file")
    origin = serve(files)
    origin.may_finish.clear()
    distributed.start_workers(threads=12)
    service = distributed.start_service(BATCH_PER_HOST="0")
    batch_id = submit_list(service, [f"{origin.base}{path}" for path in files])
    wait_for(lambda: set(origin.requests) == set(files))
    origin.may_finish.set()
    assert wait_for_batch(service, batch_id)["tasks"]["done"] == 40


def test_few_messages_are_sent_for_a_list_of_many_hosts(
    distributed: System, rabbitmq: RabbitMQ
) -> None:
    """Messages of single tasks wait behind those of lanes in the dispatcher.

    A sweeper sends the rest, so that every host gets its turn.
    """
    files = dict.fromkeys(names("", MESSAGES + 100), b"file")
    with Origin(files, host="0.0.0.0") as origin:
        service = distributed.start_service()
        addresses = (f"127.1.{number // 200}.{number % 200 + 1}" for number in range(len(files)))
        lines = [
            f"http://{address}:{origin.port}{path}"
            for address, path in zip(addresses, files, strict=True)
        ]
        batch_id = submit_list(service, lines)
        wait_for(lambda: rabbitmq.waiting().get(StepKind.RUN_LANE) == MESSAGES)
        distributed.start_workers()
        body = wait_for_batch(service, batch_id)
    assert body["tasks"]["done"] == len(files)
    assert sorted(origin.requests) == sorted(files)
