"""Names are looked up by a limited number of threads, whatever the name servers do."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devtools.servers.raw_origin import RawOrigin, reply
from devtools.waiting import wait_for
from fetch.errors import FetchCancelledError
from fetch.guard import Guard
from fetch.lookup import Resolver
from fetch.transport import Transport
from tasks.failure import FailureCode
from tests.growth import assert_linear
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]
FetchOver = Callable[[Resolver], Fetch]


class NameServer:
    """Does not answer questions before it is released."""

    def __init__(self) -> None:
        self.questions: list[object] = []
        self.is_released = threading.Event()
        self.port = 1

    def __call__(self, host: object, *_args: object, **_kwargs: object) -> list[object]:
        self.questions.append(host)
        self.is_released.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.port))]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.is_released.set()
    wait_for(lambda: count_look_ups() == 0)


def count_look_ups() -> int:
    return sum(thread.name == "lookup" for thread in threading.enumerate())


@pytest.fixture
def fetch_over() -> Iterator[Callable[[Resolver], Fetch]]:
    """Makes downloads that share a resolver."""
    made: list[Transport] = []

    def make(resolver: Resolver) -> Fetch:
        made.append(Transport(Guard(allow=LOOPBACK), resolver=resolver))
        return Fetch(made[-1])

    yield make
    for transport in made:
        transport.close()


def test_look_ups_that_hang_do_not_pile_up(name_server: NameServer, fetch_over: FetchOver) -> None:
    resolver = Resolver(limit=3)

    def fail(number: int) -> list[FailureCode]:
        fetch = fetch_over(resolver)
        url = f"http://host{number}.example"
        return [fetch.code(url, connect_timeout=0.1) for _ in range(4)]

    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(fail, range(8)))
    assert codes == [[FailureCode.DNS_ERROR] * 4] * 8
    assert len(name_server.questions) == count_look_ups() == 3


def test_a_look_up_waits_for_its_turn(
    name_server: NameServer, originate: Originate, fetch_over: FetchOver
) -> None:
    origin = originate([reply(b"hi")])
    name_server.port = origin.port
    resolver = Resolver(limit=1)
    with ThreadPoolExecutor(4) as threads:
        digests = [threads.submit(fetch_over(resolver), f"http://{n}.example") for n in range(4)]
        wait_for(lambda: name_server.questions)
        name_server.is_released.set()
        assert [digest.result().size for digest in digests] == [2] * 4
    assert len(name_server.questions) == 4


@pytest.mark.parametrize("ending", ["cancelled", "deadline", "late"])
def test_waiting_for_a_turn_is_bounded(
    ending: str, name_server: NameServer, fetch_over: FetchOver
) -> None:
    resolver = Resolver(limit=1)
    assert fetch_over(resolver).code("http://a.example", connect_timeout=0.1)
    fetch = fetch_over(resolver)
    if ending == "cancelled":
        fetch.is_cancelled = lambda: True
        with pytest.raises(FetchCancelledError):
            fetch("http://b.example", connect_timeout=600)
    elif ending == "deadline":
        code = fetch.code("http://b.example", connect_timeout=600, deadline=0.2)
        assert code is FailureCode.DEADLINE
    else:
        error = fetch.failure("http://b.example", connect_timeout=0.2)
        assert (error.failure.code, error.is_permanent) == (FailureCode.DNS_ERROR, False)
    assert name_server.questions == ["a.example"]


def test_a_turn_is_given_back(monkeypatch: pytest.MonkeyPatch, fetch_over: FetchOver) -> None:
    """Whatever a look-up ends with."""
    errors = [socket.gaierror(-2, "no"), UnicodeError("label"), ValueError("NUL"), OSError("no")]

    def fail(*_args: object, **_kwargs: object) -> None:
        raise errors[-1]

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    fetch = fetch_over(Resolver(limit=1))
    while errors:
        assert fetch.code("http://a.example") is FailureCode.DNS_ERROR
        errors.pop()


def test_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, originate: Originate, fetch_over: FetchOver
) -> None:
    origin = originate([reply(b"hi")])
    fetch = fetch_over(Resolver(limit=1))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert fetch.code(origin.base) is FailureCode.DNS_ERROR
    assert fetch(origin.base).size == 2


@pytest.mark.parametrize(
    "form", ["127.1.{}.{}", "::ffff:127.1.{}.{}", "::ffff:127.1.{}.{}%lo", "64:ff9b::127.1.{}.{}"]
)
def test_many_addresses_take_linear_time(form: str) -> None:
    guard = Guard(allow=LOOPBACK)

    def check(number: int) -> None:
        guard.check(form.format(each // 256, each % 256) for each in range(number))

    assert_linear(check, smallest=64, largest=4096)
