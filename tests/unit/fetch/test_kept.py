"""Idle connections are few, and are closed without another request."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devtools.servers.raw_origin import RawOrigin, Step, reply, stall
from devtools.waiting import wait_for
from fetch.guard import Guard
from fetch.kept import KeptConnections
from fetch.transport import Transport
from tests.unit.fetch.fetching import LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]


class Connection:
    """Notes whether it was closed."""

    def __init__(self) -> None:
        self.is_connected = True
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


@pytest.fixture
def keep() -> Iterator[Callable[..., KeptConnections]]:
    """Makes `KeptConnections` with their thread."""
    made: list[KeptConnections] = []

    def make(**limits: float) -> KeptConnections:
        made.append(KeptConnections(**limits))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    for kept in made:
        kept.stop()


def count_sockets() -> int:
    links = list(Path("/proc/self/fd").iterdir())
    return sum(link.is_symlink() and str(link.readlink()).startswith("socket:") for link in links)


def test_a_connection_is_taken_once() -> None:
    kept, connection = KeptConnections(), Connection()
    kept.put("a", connection)
    assert kept.take("b") is None
    assert kept.take("a") is connection
    assert kept.take("a") is None
    assert connection.closes == 0


def test_one_connection_is_kept_for_each_key() -> None:
    kept, first, second = KeptConnections(), Connection(), Connection()
    kept.put("a", first)
    kept.put("a", second)
    assert kept.take("a") is second
    assert (first.closes, second.closes) == (1, 0)


def test_a_connection_that_cannot_be_used_is_closed() -> None:
    kept, connection = KeptConnections(), Connection()
    kept.put("a", connection)
    connection.is_connected = False
    assert kept.take("a") is None
    assert connection.closes == 1


def test_the_connection_that_was_idle_the_longest_makes_room() -> None:
    kept, connections = KeptConnections(limit=3), [Connection() for _ in range(5)]
    for number, connection in enumerate(connections):
        kept.put(number, connection)
    assert [connection.closes for connection in connections] == [1, 1, 0, 0, 0]
    kept.close_all()
    assert [connection.closes for connection in connections] == [1] * 5


def test_a_connection_that_was_used_again_is_young() -> None:
    kept, connections = KeptConnections(limit=2), [Connection() for _ in range(3)]
    kept.put(0, connections[0])
    kept.put(1, connections[1])
    kept.put(0, kept.take(0) or connections[2])
    kept.put(2, connections[2])
    assert [connection.closes for connection in connections] == [0, 1, 0]


def test_a_connection_that_was_idle_for_too_long_is_not_taken() -> None:
    kept, connection = KeptConnections(idle_seconds=0), Connection()
    kept.put("a", connection)
    assert kept.take("a") is None
    assert connection.closes == 1


def test_idle_connections_are_closed_in_time(keep: Callable[..., KeptConnections]) -> None:
    kept, connections = keep(idle_seconds=0.1), [Connection() for _ in range(3)]
    for number, connection in enumerate(connections):
        kept.put(number, connection)
    wait_for(lambda: [connection.closes for connection in connections] == [1] * 3)
    kept.put(0, connections[0])  # and later ones as well
    wait_for(lambda: connections[0].closes == 2)


def test_a_connection_has_one_user_at_a_time(keep: Callable[..., KeptConnections]) -> None:
    """Threads take connections while others are closed."""
    kept = keep(limit=4, idle_seconds=0.01)
    is_over = threading.Event()

    def use(number: int) -> None:
        for turn in range(2000):
            connection = kept.take((number, turn % 3)) or Connection()
            assert isinstance(connection, Connection)
            assert connection.closes == 0
            kept.put((number, turn % 3), connection)
        is_over.set()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert is_over.is_set()


@pytest.mark.parametrize(
    "script", [[reply(b"hi")], [reply(b"hi"), stall]], ids=["by the server", "by us"]
)
def test_descriptors_return_after_the_last_download(
    script: list[Step], keep: Callable[..., KeptConnections]
) -> None:
    """Also if the servers close first, which leaves our ends in CLOSE_WAIT."""
    kept = keep(limit=20, idle_seconds=1)
    before = count_sockets()
    hosts = [f"127.0.{block}.{host}" for block in range(4) for host in range(1, 9)]

    def fetch_all(_: int) -> Transport:
        transport = Transport(Guard(allow=LOOPBACK), kept=kept)
        for host in hosts:
            assert Fetch(transport)(f"http://{host}:{origin.port}").size == 2
        return transport

    with RawOrigin(script, host="0.0.0.0") as origin, ThreadPoolExecutor(4) as threads:
        transports = list(threads.map(fetch_all, range(4)))
    assert len(transports) == 4
    wait_for(lambda: count_sockets() <= before)


def test_connections_of_a_stopped_worker_are_closed(
    originate: Originate, keep: Callable[..., KeptConnections]
) -> None:
    kept = keep(idle_seconds=600)
    received: list[bytes] = []
    script = [reply(b"hi"), lambda peer: received.append(peer.connection.recv(1))]
    origin = originate(script)
    Fetch(Transport(Guard(allow=LOOPBACK), kept=kept))(origin.base)
    kept.close_all()
    origin.join(0)
    assert received == [b""]
