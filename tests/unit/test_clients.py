"""Which requests and connections count as those of one client."""

import resource

import pytest

from service.clients import MAX_NAME, SITE_CLIENTS, networks_of
from service.connections import Peers

SUBNET, SITE = "2001:db8:1:2::/64", "2001:db8:1::/48"


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        " 192.0.2.1 ",
        "192.0.2.1:4711",
        "[192.0.2.1]:80",
        "::ffff:192.0.2.1",
        "[::ffff:192.0.2.1]:4711",
        "::FFFF:C000:201",
    ],
)
def test_an_ipv4_client(text: str) -> None:
    assert networks_of(text) == ("192.0.2.1",)


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8:1:2::3",
        "2001:DB8:1:2:ffff:ffff:ffff:ffff",
        "[2001:db8:1:2::3]",
        "[2001:db8:1:2::3]:4711",
        "2001:db8:1:2::3%eth0",
        "[2001:db8:1:2::3%25eth0]:4711",
    ],
)
def test_an_ipv6_client(text: str) -> None:
    assert networks_of(text) == (SUBNET, SITE)


def test_other_subnets_of_one_site() -> None:
    assert networks_of("2001:db8:1:3::3")[0] != SUBNET
    assert networks_of("2001:db8:1:3::3")[1] == SITE
    assert networks_of("2001:db8:2::")[1] != SITE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "[]",
        "[]:80",
        ":",
        ":80",
        "1.2.3",
        "1.2.3.4.5:6",
        "_hidden",
        "::1::2",
        "%",
        "[x",
    ],
)
def test_what_is_not_an_address(text: str) -> None:
    assert networks_of(text) == (text,)


@pytest.mark.parametrize("text", ["a" * 70_000, "é" * 70_000, "\udcff" * 70_000, "[" * 70_000])
def test_long_and_undecodable_names_are_shortened(text: str) -> None:
    (name,) = networks_of(text)
    assert name.isascii()
    assert len(name) <= MAX_NAME


def test_connections_of_a_subnet_and_of_a_site_are_counted() -> None:
    peers = Peers(2)
    assert [peers.enter((SUBNET, SITE)) for _ in range(3)] == [True, True, False]
    subnets = [f"2001:db8:1:{number:x}::/64" for number in range(3, 100)]
    admitted = [peers.enter((subnet, SITE)) for subnet in subnets]
    assert admitted.count(True) == 2 * SITE_CLIENTS - 2
    assert peers.enter(("192.0.2.1",))
    peers.leave((SUBNET, SITE))
    assert peers.enter((SUBNET, SITE))


def test_a_client_that_has_left_leaves_nothing_behind() -> None:
    peers = Peers(2)
    assert peers.enter((SUBNET, SITE))
    peers.leave((SUBNET, SITE))
    assert not peers._open


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (10, 10))
    peers = Peers(0)
    admitted = [peers.enter((f"192.0.2.{number}",)) for number in range(10)]
    assert admitted.count(True) == 5
