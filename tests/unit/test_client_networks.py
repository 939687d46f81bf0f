"""Which requests and connections count as those of one client."""

import pytest

from service.client_networks import MAX_NAME, networks_of

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
def test_text_that_is_not_an_address_stands_for_itself(text: str) -> None:
    assert networks_of(text) == (text,)


@pytest.mark.parametrize("text", ["a" * 70_000, "é" * 70_000, "\udcff" * 70_000, "[" * 70_000])
def test_long_and_undecodable_names_are_shortened(text: str) -> None:
    (name,) = networks_of(text)
    assert name.isascii()
    assert len(name) <= MAX_NAME
