"""How long, and how often, a client may hold a connection."""

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from devtools.servers.deployment import System
from devtools.servers.origin import Origin
from devtools.servers.system import Service
from devtools.waiting import wait_for
from service.connections import LINGER_SECONDS
from service.large_bodies import MOST_OF_CLIENT
from service.submission import MAX_LIST_BYTES, MAX_SINGLE_BYTES
from tests.e2e.batches import insert_long_batch
from tests.e2e.scraping import scrape
from tests.wire import connect, exchange, read_to_end, status_of

FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
POST = b"POST /submit HTTP/1.1\r\nHost: a\r\n" + FORM
LIVE = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
STOP_SECONDS = 12  # shorter than the 15 s for which Sanic waits for open connections
SHORT = {"REQUEST_TIMEOUT": "1s", "SANIC_RESPONSE_TIMEOUT": "1", "SANIC_KEEP_ALIVE_TIMEOUT": "1"}


@pytest.fixture(scope="module")
def patient(open_system: System) -> Service:
    """A service whose deadlines are not over before a test is."""
    return open_system.start_service()


@pytest.fixture(scope="module")
def service(open_system: System) -> Service:
    """A service whose deadlines are over soon."""
    return open_system.start_service(**SHORT)


def exchange_all(service: Service, requests: Sequence[bytes]) -> list[bytes]:
    """Send each request on a connection of its own, all at the same time."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(partial(exchange, service, seconds=20), requests))


def test_requests_that_do_not_arrive_are_refused_at_the_deadline(service: Service) -> None:
    requests = [
        POST + b"Content-Length: 100\r\n\r\n",
        POST + b"Content-Length: 100\r\n\r\nurl=http",
        POST + b"Content-Length: 100\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        POST + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nurl=h",
        POST,
        b"G",
        b"\r\n",
        LIVE + POST + b"Content-Length: 100\r\n\r\n",
    ]
    for request, answer in zip(requests, exchange_all(service, requests), strict=True):
        last = answer[answer.rindex(b"HTTP/1.1 ") :]
        assert status_of(last) == 408, request
        assert json.loads(last.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
        assert b"\r\nconnection: close\r\n" in last.lower()


def test_the_end_of_the_last_chunk_is_not_waited_for_longer(service: Service) -> None:
    answer = exchange(service, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", 20)
    assert status_of(answer) == 503


def drip(service: Service, begin: bytes, bit: bytes) -> bytes:
    """Send the begin of a request, and then a bit of it every tenth of a second."""
    with connect(service, 20) as connection:
        connection.sendall(begin)
        is_over = threading.Event()

        def send() -> None:
            with suppress(OSError):
                while not is_over.wait(0.1):
                    connection.sendall(bit)

        sender = threading.Thread(target=send)
        sender.start()
        answer = read_to_end(connection)
        is_over.set()
        sender.join()
    return answer


def test_bytes_do_not_extend_the_deadline(service: Service) -> None:
    drips = [
        (b"GET / HTTP/1.1\r\nX: ", b"x"),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"G", b"E"),
        (POST + b"Content-Length: 60000\r\n\r\n", b"x"),
        (POST + b"Upgrade: websocket\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ]
    with ThreadPoolExecutor(len(drips)) as pool:
        answers = list(pool.map(lambda each: drip(service, *each), drips))
    assert [status_of(answer) for answer in answers] == [408] * len(drips)


def test_large_bodies_of_one_client_wait_for_each_other(patient: Service) -> None:
    """Otherwise all connections of a client could fill the memory."""
    body = b"urls=" + b"%23" * 2**15  # a comment
    head = POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    with ExitStack() as kept:
        slow = [kept.enter_context(connect(patient, 20)) for _ in range(MOST_OF_CLIENT)]
        for each in slow:
            each.sendall(head + body[:-1])
        small = POST + b"Content-Length: 4\r\nConnection: close\r\n\r\nurl="
        assert status_of(exchange(patient, small, 20)) == 400, "small ones do not wait"
        waiting = kept.enter_context(connect(patient, 20))
        waiting.sendall(head + body)
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(20)
        slow[0].sendall(body[-1:])
        assert status_of(read_to_end(slow[0])) == 400
        assert status_of(read_to_end(waiting)) == 400


def test_body_that_does_not_arrive_keeps_no_other_waiting(patient: Service) -> None:
    """A client that announces many large bodies could keep others from submitting lists."""
    announced = [b"Transfer-Encoding: chunked", b"Content-Length: 4000000"] * MOST_OF_CLIENT
    body = b"urls=" + b"%23" * 2**15
    with ExitStack() as kept:
        for each in announced:
            kept.enter_context(connect(patient, 20)).sendall(POST + each + b"\r\n\r\n")
        head = POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        assert status_of(exchange(patient, head + body, 20)) == 400


@pytest.mark.parametrize("kind", ["form", "multipart", "JSON"])
def test_body_is_not_kept_while_it_arrives(kind: str, patient: Service) -> None:
    """Clients that send the largest lists at the same time take hardly any memory."""
    comments = (b"# " + b"x" * 95 + b"\n") * (MAX_LIST_BYTES // 101)
    form_data = b'--limit\r\nContent-Disposition: form-data; name="urls"\r\n\r\n%b\r\n--limit--'
    content_type, body = {
        "form": (b"application/x-www-form-urlencoded", b"urls=" + comments),
        "multipart": (b"multipart/form-data; boundary=limit", form_data % comments),
        "JSON": (b"application/json", b'{"urls":["%b"]}' % comments.replace(b"\n", b'","')[:-3]),
    }[kind]
    head = (
        b"POST /submit HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n" % (content_type, len(body))
    )
    before = patient.peak_memory()
    with ExitStack() as kept:
        clients = [kept.enter_context(connect(patient, 20)) for _ in range(MOST_OF_CLIENT)]
        for each in clients:
            each.sendall(head + body[:-1])
        for each in clients:
            each.sendall(body[-1:])
            assert b"must have at least one URL" in read_to_end(each)
    assert patient.peak_memory() < before + 2 * MAX_LIST_BYTES


def test_client_that_waits_for_a_result_holds_no_place(
    embedded: System, serve: Callable[[Mapping[str, bytes]], Origin]
) -> None:
    service, origin = embedded.start(), serve({"/file": b"x"})
    origin.may_finish.clear()
    text = b"url=%b/file" % origin.base.encode()
    head = POST + b"Transfer-Encoding: chunked\r\nPrefer: wait=60\r\n\r\n"
    chunked = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
    with ExitStack() as kept:
        for number in range(1, MOST_OF_CLIENT + 2):
            kept.enter_context(connect(service)).sendall(chunked)
            wait_for(lambda number=number: len(origin.requests) == number)  # type: ignore[misc]
        origin.may_finish.set()


def test_an_answer_before_the_body_ends_the_connection(patient: Service) -> None:
    expected = {
        b"POST /nowhere HTTP/1.1\r\nContent-Length: 100\r\n\r\n": 404,
        b"POST /nowhere HTTP/1.1\r\nContent-Length: 9\r\nUpgrade: websocket\r\n\r\n": 404,
        b"PUT /check HTTP/1.1\r\nContent-Length: 100\r\n\r\n": 405,
        POST + b"Content-Length: 99999999\r\n\r\n": 413,
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n": 413,
        POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n": 400,
        b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n": 404,
        b"POST /nowhere HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n": 404,
    }
    answers = exchange_all(patient, list(expected))
    assert [status_of(answer) for answer in answers] == list(expected.values())
    for answer in answers:
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b"100 Continue" not in answer


LENGTH = b"Content-Length: 70000\r\n\r\n"
CHUNK = b"Transfer-Encoding: chunked\r\n\r\n11170\r\n"  # of 70,000 bytes


@pytest.mark.parametrize("begin", [LENGTH, CHUNK], ids=["length", "chunk"])
@pytest.mark.parametrize("line", [b"DELETE /check?id=a", b"GET /export?id=a"], ids=bytes.decode)
def test_body_too_large_for_anything_but_a_list_is_not_waited_for(
    patient: Service, line: bytes, begin: bytes
) -> None:
    """Not a byte of it arrives."""
    answer = exchange(patient, line + b" HTTP/1.1\r\nHost: a\r\n" + begin, 20)
    assert status_of(answer) == 413
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], error["message"]) == (
        "too_large",
        f"The body may have at most {MAX_SINGLE_BYTES:,} bytes.",
    )


def test_an_early_answer_reaches_a_client_that_sends_slowly(service: Service) -> None:
    began = time.monotonic()
    with connect(service, 20) as connection:
        connection.sendall(POST + b"Content-Length: 5000000\r\n\r\n")
        # Longer than the service waits for a client that sends nothing.
        while (passed := time.monotonic() - began) < LINGER_SECONDS + 1:
            connection.sendall(bytes(1000))
            wait_for(lambda: time.monotonic() - began > passed + 0.1)
        assert status_of(read_to_end(connection)) == 413


def test_an_early_answer_reaches_a_client_that_is_still_sending(service: Service) -> None:
    with connect(service, 20) as connection:
        connection.sendall(POST + b"Content-Length: 5000000\r\n\r\n" + bytes(5_000_000))
        assert status_of(read_to_end(connection)) == 413


def test_upgrade_is_ignored(service: Service) -> None:
    for protocol in (b"websocket", b"h2c"):
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Key: a\r\n\r\n" % protocol
        assert status_of(exchange(service, LIVE[:-2] + upgrade, 20)) == 200


def test_an_idle_connection_is_closed(service: Service) -> None:
    answers = exchange_all(service, [b"", LIVE, LIVE * 3])
    assert [answer.count(b"HTTP/1.1 200 OK") for answer in answers] == [0, 1, 3]


def test_a_client_that_does_not_read_is_cut_off(service: Service) -> None:
    ask = b"GET /docs/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(service, 20) as connection:

        def is_cut_off() -> bool:
            try:
                connection.sendall(ask)
            except OSError:
                return True
            return False

        wait_for(is_cut_off)


def test_a_long_answer_may_be_read_slowly(embedded: System) -> None:
    service = embedded.start_service(REQUEST_TIMEOUT="1s", SANIC_RESPONSE_TIMEOUT="3")
    batch_id = insert_long_batch(embedded)
    ask = b"GET /export?id=%b HTTP/1.0\r\nHost: a\r\n\r\n" % batch_id.encode()
    began, answer = time.monotonic(), bytearray()
    with connect(service, 20) as connection:
        connection.sendall(ask)
        while part := connection.recv(2**16):
            answer += part
            # A client that reads 2 MiB per second needs longer than both deadlines together.
            wait_for(lambda: time.monotonic() - began > len(answer) / 2**21)  # noqa: B023
    assert answer.endswith(b"\r\n0\r\n\r\n"), "it was cut off"


def test_a_stop_ends_the_connection_of_a_long_answer_after_it(embedded: System) -> None:
    service = embedded.start_service()
    batch_id = insert_long_batch(embedded)
    with connect(service, 20) as connection:
        connection.sendall(b"GET /export?id=%b HTTP/1.1\r\nHost: a\r\n\r\n" % batch_id.encode())
        answer = connection.recv(2**12)
        service.send(signal.SIGTERM)
        wait_for(lambda: not listens(service))
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += (part := connection.recv(2**16))
            assert part, "it was cut off"
        assert service.wait(STOP_SECONDS) == 0


def listens(service: Service) -> bool:
    try:
        with connect(service):
            return True
    except ConnectionRefusedError:
        return False


def test_requests_one_after_the_other_keep_their_connection(open_system: System) -> None:
    service = open_system.start_service(**{**SHORT, "SANIC_KEEP_ALIVE_TIMEOUT": "3"})
    with connect(service, 20) as connection, ThreadPoolExecutor(1) as pool:
        idle_ones_closed = pool.submit(exchange_all, service, [b"", LIVE, LIVE[:-2]])
        while not idle_ones_closed.done():
            connection.sendall(LIVE)
            assert status_of(connection.recv(65536)) == 200
        connection.sendall(LIVE)
        assert status_of(connection.recv(65536)) == 200


def test_clients_that_hang_up_leave_no_trace_and_no_connection(service: Service) -> None:
    body = b"url=http://127.0.0.1:1025/x"
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    before = service.count_descriptors()
    for size in range(0, len(whole) + 1, 7):
        with connect(service, 20) as connection:
            connection.sendall(whole[:size])
    wait_for(lambda: service.count_descriptors() <= before)
    assert "Traceback" not in service.output


def test_a_client_may_have_a_number_of_connections(open_system: System) -> None:
    service = open_system.start_service(CONNECTIONS_PER_CLIENT="5")
    wait_for(lambda: status_of(exchange(service, LIVE[:-2] + b"Connection: close\r\n\r\n")) == 200)
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(service)) for _ in range(5)]
        for connection in busy:
            connection.sendall(LIVE + LIVE[:10])
            assert status_of(connection.recv(65536)) == 200

        answer = exchange(service, LIVE)

        assert status_of(answer) == 429
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == "too_many_connections"
        busy[0].sendall(LIVE[10:])
        assert status_of(busy[0].recv(65536)) == 200

        # It is idle now, so the next connection takes its place.
        assert status_of(exchange(service, LIVE[:-2] + b"Connection: close\r\n\r\n")) == 200
        assert busy[0].recv(65536) == b""
        busy[1].sendall(LIVE[10:])
        assert status_of(busy[1].recv(65536)) == 200

    def is_served() -> bool:
        with connect(service) as another:
            another.sendall(LIVE)
            return status_of(another.recv(65536)) == 200

    wait_for(is_served)
    assert scrape(service.base)["md5_light_connections_refused_total"] >= 1
    assert "Traceback" not in service.output


def test_the_connections_of_a_proxy_are_not_counted(open_system: System) -> None:
    service = open_system.start_service(CONNECTIONS_PER_CLIENT="1", PROXIES_COUNT="1")
    with ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(connect(service))
            connection.sendall(LIVE)
            assert status_of(connection.recv(65536)) == 200


def test_several_processes_keep_the_deadlines(open_system: System) -> None:
    service = open_system.start_service(WEB_WORKERS="2", **SHORT)
    assert status_of(exchange(service, POST + b"Content-Length: 100\r\n\r\n", 20)) == 408


def test_pipelined_requests_do_not_hold_up_other_clients(patient: Service) -> None:
    """Many requests of another client are answered while a burst is."""
    burst = (LIVE * 10_000)[: -len(LIVE)] + LIVE[:-2] + b"Connection: close\r\n\r\n"
    answered = 0
    with connect(patient) as other, connect(patient) as flood, ThreadPoolExecutor(2) as pool:
        sent = pool.submit(flood.sendall, burst)
        ended = pool.submit(read_to_end, flood)
        while not ended.done():
            other.sendall(LIVE)
            assert status_of(other.recv(65536)) == 200
            answered += 1
        sent.result()
        assert ended.result().count(b"HTTP/1.1 200 OK") == 10_000
    assert answered > 100
