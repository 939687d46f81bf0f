import resource
from collections.abc import Sequence

import pytest

from service.client_networks import SITE_CLIENTS
from service.peers import Peers

SUBNET, SITE = "2001:db8:1:2::/64", "2001:db8:1::/48"
ADDRESS = ("192.0.2.1",)


class FakeConnection:
    def __init__(self, *, is_idle: bool = False) -> None:
        self.is_idle = is_idle
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True


def enter(peers: Peers, networks: Sequence[str]) -> bool:
    """Have a client open a connection with a request under way."""
    return peers.enter(FakeConnection(), networks)


def test_connections_of_a_subnet_and_of_a_site_are_counted() -> None:
    peers = Peers(2)
    first = FakeConnection()
    assert peers.enter(first, (SUBNET, SITE))
    assert [enter(peers, (SUBNET, SITE)) for _ in range(2)] == [True, False]
    subnets = [f"2001:db8:1:{number:x}::/64" for number in range(3, 100)]
    admitted = [enter(peers, (subnet, SITE)) for subnet in subnets]
    assert admitted.count(True) == 2 * SITE_CLIENTS - 2
    assert enter(peers, ADDRESS)
    peers.leave(first)
    assert enter(peers, (SUBNET, SITE))


def test_a_client_at_its_limit_loses_its_oldest_idle_connection() -> None:
    peers = Peers(3)
    connections = [FakeConnection(is_idle=is_idle) for is_idle in (False, True, True)]
    for connection in connections:
        assert peers.enter(connection, ADDRESS)
    assert enter(peers, ADDRESS)
    assert [each.is_dropped for each in connections] == [False, True, False]
    assert enter(peers, ADDRESS)
    assert [each.is_dropped for each in connections] == [False, True, True]
    assert not enter(peers, ADDRESS)
    peers.leave(connections[1])  # its end is noticed later, and changes nothing
    assert not enter(peers, ADDRESS)


def test_a_client_does_not_lose_a_connection_to_another_client() -> None:
    peers = Peers(1)
    connection = FakeConnection(is_idle=True)
    assert peers.enter(connection, ADDRESS)
    assert enter(peers, ("192.0.2.2",))
    assert not connection.is_dropped


def test_a_client_that_has_left_leaves_nothing_behind() -> None:
    peers = Peers(2)
    connection = FakeConnection()
    assert peers.enter(connection, (SUBNET, SITE))
    peers.leave(connection)
    assert not peers._open
    assert not peers._networks


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (10, 10))
    peers = Peers(0)
    admitted = [enter(peers, (f"192.0.2.{number}",)) for number in range(10)]
    assert admitted.count(True) == 5
