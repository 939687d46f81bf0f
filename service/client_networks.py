"""Who a client is, for limits: an IPv4 address, or the networks that an IPv6 client may own."""

import ipaddress
import re

# One subscriber gets a /64 at least and a /48 at most (RFC 6177), and chooses addresses within it.
IPV6_PREFIXES = (64, 48)
SITE_CLIENTS = 16  # a /48 may have several subscribers: it counts as this many clients
MAX_NAME = 100  # characters of a name that a proxy gave in place of an address

# As proxies write a port: 192.0.2.1:4711 or [2001:db8::1]:4711.
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]{1,5})?")


def networks_of(text: str) -> tuple[str, ...]:
    """Return the networks that a client's address belongs to, the narrowest first.

    An IPv4 address stands alone. A zone id and a port are ignored. Text that is not an address is
    its own network, shortened and in ASCII.
    """
    text = text[:MAX_NAME].strip()
    with_port = _WITH_PORT.fullmatch(text)
    bare = (with_port[1] or with_port[2] or "") if with_port else text
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return (text.encode("ascii", "backslashreplace").decode()[:MAX_NAME],)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return tuple(
                str(ipaddress.ip_network((address, prefix), strict=False))
                for prefix in IPV6_PREFIXES
            )
        address = address.ipv4_mapped
    return (str(address),)
