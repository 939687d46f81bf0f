"""Which addresses a download may connect to: only what is public on the Internet."""

import ipaddress
from collections.abc import Iterable

from fetch.errors import FetchError
from settings.parsing import Network
from tasks.failure import FailureCode

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# https://www.iana.org/assignments/iana-ipv4-special-registry, multicast, and what clouds keep
# for themselves outside of those blocks. Everything else in IPv4 is public.
SPECIAL_IPV4 = (
    ("0.0.0.0/8", "this network, RFC 791"),
    ("10.0.0.0/8", "private use, RFC 1918"),
    ("100.64.0.0/10", "shared address space, RFC 6598; Alibaba Cloud's metadata"),
    ("127.0.0.0/8", "loopback, RFC 1122"),
    ("168.63.129.16/32", "Azure's host"),
    ("169.254.0.0/16", "link local, RFC 3927; the metadata of most clouds"),
    ("172.16.0.0/12", "private use, RFC 1918"),
    ("192.0.0.0/24", "protocol assignments, RFC 6890; Oracle Cloud's metadata"),
    ("192.0.2.0/24", "documentation, RFC 5737"),
    ("192.31.196.0/24", "AS112, RFC 7535"),
    ("192.52.193.0/24", "AMT, RFC 7450"),
    ("192.88.99.0/24", "6to4 relay, RFC 7526"),
    ("192.168.0.0/16", "private use, RFC 1918"),
    ("192.175.48.0/24", "AS112, RFC 7534"),
    ("198.18.0.0/15", "benchmarking, RFC 2544"),
    ("198.51.100.0/24", "documentation, RFC 5737"),
    ("203.0.113.0/24", "documentation, RFC 5737"),
    ("224.0.0.0/4", "multicast, RFC 5771"),
    ("240.0.0.0/4", "reserved, RFC 1112, and broadcast, RFC 919"),
)

# https://www.iana.org/assignments/ipv6-unicast-address-assignments: all that is public is in here.
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")

# https://www.iana.org/assignments/iana-ipv6-special-registry, as far as it is inside 2000::/3.
SPECIAL_IPV6 = (
    ("2001::/23", "protocol assignments, RFC 2928: Teredo, benchmarking, ORCHID, AMT, …"),
    ("2001:db8::/32", "documentation, RFC 3849"),
    ("2002::/16", "6to4, RFC 3056: an IPv4 address is inside"),
    ("2620:4f:8000::/48", "AS112, RFC 7534"),
    ("3fff::/20", "documentation, RFC 9637"),
)

# The interface identifiers of ISATAP, RFC 5214 § 6.1: an IPv4 address is in the last 32 bits.
_ISATAP_IDENTIFIERS = (0x00005EFE, 0x02005EFE)

# An IPv4-mapped address and one of NAT64 have the IPv4 address in their last 32 bits.
_PREFIX_BITS = 96
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 § 2.1

_SPECIAL: dict[int, tuple[Network, ...]] = {
    4: tuple(ipaddress.IPv4Network(block) for block, _ in SPECIAL_IPV4),
    6: tuple(ipaddress.IPv6Network(block) for block, _ in SPECIAL_IPV6),
}


class Guard:
    """Decides which addresses may be connected to; asked at each connect, with the very address."""

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        self._allow = tuple(map(_unwrap_network, allow))
        self._deny = tuple(map(_unwrap_network, deny))

    def admits(self, text: str) -> bool:
        """Return whether the address, as the resolver writes it, may be connected to.

        `deny` goes before `allow`, and `allow` before the rule that only public addresses are.
        """
        try:
            address = _unwrap(ipaddress.ip_address(text))
        except ValueError:
            return False
        inside = _translate(address)
        if any(address in network or inside in network for network in self._deny):
            return False
        return self._allows(address, inside) or _is_public(inside)

    def _allows(self, address: Address, inside: Address) -> bool:
        """Return whether `allow` names the address, or the IPv4 address behind NAT64.

        A network around the prefix of NAT64 names the translator, and nothing behind it.
        """
        return any(
            inside in network or (address in network and network.prefixlen > _PREFIX_BITS)
            for network in self._allow
        )

    def check(self, addresses: Iterable[str]) -> None:
        """Raises FetchError if any of a name's addresses may not be connected to.

        One bad address is enough: a name with mixed answers is no accident.
        """
        if not all(map(self.admits, addresses)):
            raise _blocked_address()

    def check_ends(self, local: str, remote: str) -> None:
        """Raises FetchError if a connection leads back to this machine, unless `allow` names it."""
        if local == remote:
            address = _unwrap(ipaddress.ip_address(remote))
            if not self._allows(address, _translate(address)):
                raise _blocked_address()


def _blocked_address() -> FetchError:
    return FetchError(FailureCode.BLOCKED_ADDRESS, "The host is not on the public Internet.")


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address (RFC 4291 § 2.5.5.2)."""
    return getattr(address, "ipv4_mapped", None) or address


def _translate(address: Address) -> Address:
    """Return the IPv4 address that NAT64 connects to for an address inside its prefix."""
    return ipaddress.IPv4Address(int(address) % 2**32) if address in _NAT64 else address


def _unwrap_network(network: Network) -> Network:
    """Return the IPv4 network inside one that is written as IPv4-mapped."""
    inside = getattr(network.network_address, "ipv4_mapped", None)
    if inside is None or network.prefixlen < _PREFIX_BITS:
        return network
    return ipaddress.IPv4Network((inside, network.prefixlen - _PREFIX_BITS))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        identifier = int(address) >> 32 & 0xFFFFFFFF
        if address not in GLOBAL_IPV6 or identifier in _ISATAP_IDENTIFIERS:
            return False
    return not any(address in network for network in _SPECIAL[address.version])
