"""A host is reached if one of its addresses answers, in time and with no socket left over."""

import hashlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from devtools.servers.raw_origin import RawOrigin, reply
from devtools.waiting import PATIENCE, wait_for
from fetch import connecting
from fetch.connecting import MAX_ADDRESSES, _interleave
from fetch.errors import FetchCancelledError
from fetch.guard import Guard
from fetch.lookup import Endpoint
from fetch.transport import Transport
from tasks.failure import FailureCode
from tests.unit.fetch.fetching import Fetch
from tests.unit.fetch.test_kept import count_sockets

Originate = Callable[..., RawOrigin]

MD5 = hashlib.md5(b"hi").hexdigest()
URL = "http://a.example/"
FOREVER = 600.0


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the loopback has no IPv6")


def ipv4(port: int, host: str = "127.0.0.1") -> Endpoint:
    return socket.AF_INET, (host, port)


def ipv6(port: int) -> Endpoint:
    return socket.AF_INET6, ("::1", port, 0, 0)


class Network:
    """Names with addresses that answer, refuse or are silent, and the attempts to connect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self._monkeypatch = monkeypatch
        self._stack = stack
        self.begun: list[Endpoint] = []
        self.listeners: list[socket.socket] = []
        self.fillers: list[socket.socket] = []
        begin = connecting._Race._begin

        def note(race: connecting._Race, family: int, address: tuple[object, ...]) -> bool:
            self.begun.append((family, address))
            return begin(race, family, address)

        monkeypatch.setattr(connecting._Race, "_begin", note)

    def resolve(self, *endpoints: Endpoint) -> None:
        """Set what getaddrinfo answers; each address has a port of its own."""
        found = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in endpoints]
        self._monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)

    def stagger(self, seconds: float) -> None:
        self._monkeypatch.setattr(connecting, "STAGGER_SECONDS", seconds)

    def silent_port(self, host: str = "127.0.0.1") -> int:
        """A port that drops what comes, because the queue of its listener is full."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        full = self._stack.enter_context(socket.socket(family))
        full.bind((host, 0))
        full.listen(0)
        self.listeners.append(full)
        for _ in range(2):
            filler = self._stack.enter_context(socket.socket(family))
            filler.settimeout(0)
            filler.connect_ex(full.getsockname())
            self.fillers.append(filler)
        return int(full.getsockname()[1])

    def refused_port(self) -> int:
        bound = self._stack.enter_context(socket.socket())  # and not listening
        bound.bind(("", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(monkeypatch, stack)


@needs_ipv6
@pytest.mark.parametrize("dead", [1, 4, 20])
def test_dead_addresses_of_one_family_do_not_hide_the_other(
    dead: int,
    originate: Originate,
    fetch: Fetch,
    network: Network,
) -> None:
    origin = originate([reply(b"hi")])
    network.resolve(*(ipv6(network.silent_port("::1")) for _ in range(dead)), ipv4(origin.port))
    assert fetch(URL, connect_timeout=FOREVER, deadline=FOREVER).md5 == MD5
    assert [family for family, _ in network.begun] == [socket.AF_INET6, socket.AF_INET]


@needs_ipv6
def test_dead_ipv4_addresses_do_not_hide_ipv6(
    fetch: Fetch,
    network: Network,
) -> None:
    with RawOrigin([reply(b"hi")], host="::1") as origin:
        network.resolve(*(ipv4(network.silent_port()) for _ in range(4)), ipv6(origin.port))
        assert fetch(URL, connect_timeout=FOREVER, deadline=FOREVER).md5 == MD5


def test_dead_addresses_of_the_same_family(
    originate: Originate,
    fetch: Fetch,
    network: Network,
) -> None:
    network.stagger(0.02)
    origin = originate([reply(b"hi")])
    dead = [ipv4(network.silent_port()) for _ in range(MAX_ADDRESSES - 1)]
    before = count_sockets()
    network.resolve(*dead, ipv4(origin.port))
    assert fetch(URL, connect_timeout=FOREVER, deadline=FOREVER).md5 == MD5
    assert count_sockets() <= before + 2  # the kept connection, and the origin's end of it


def test_the_next_address_is_tried_at_once_after_a_failure(
    originate: Originate, network: Network
) -> None:
    network.stagger(FOREVER)
    origin = originate([reply(b"hi")])
    network.resolve(
        ipv4(80, "255.255.255.255"),  # the kernel refuses to connect there
        ipv4(network.refused_port()),
        ipv4(network.refused_port(), "127.0.0.2"),
        ipv4(origin.port),
    )
    fetch = Fetch(Transport(Guard(allow=[ipaddress.ip_network("0.0.0.0/0")])))
    assert fetch(URL).md5 == MD5
    fetch.transport.close()


def test_the_first_address_has_a_head_start(
    originate: Originate, fetch: Fetch, network: Network
) -> None:
    network.stagger(FOREVER)
    first, second = originate([reply(b"hi")]), originate([reply(b"other")])
    network.resolve(ipv4(first.port), ipv4(second.port))
    assert fetch(URL).md5 == MD5
    assert network.begun == [ipv4(first.port)]


def test_an_address_is_tried_for_no_longer_than_its_time(
    originate: Originate,
    fetch: Fetch,
    network: Network,
) -> None:
    """The next one begins then, although its turn would come later."""
    network.stagger(FOREVER)
    origin = originate([reply(b"hi")])
    network.resolve(ipv4(network.silent_port()), ipv4(network.silent_port()), ipv4(origin.port))
    assert fetch(URL, connect_timeout=0.5).md5 == MD5


def test_an_address_that_answers_late_can_still_win(fetch: Fetch, network: Network) -> None:
    """Its attempt goes on while others are made."""
    late = network.silent_port()
    network.resolve(ipv4(late), ipv4(network.silent_port()))

    def serve() -> None:
        wait_for(lambda: len(network.begun) == 2)
        listener = network.listeners[0]
        listener.listen(5)
        listener.settimeout(PATIENCE)
        while True:  # those that filled its queue come first
            with listener.accept()[0] as connection:
                connection.settimeout(PATIENCE)
                with suppress(OSError):
                    if connection.recv(65536):
                        connection.sendall(reply(b"hi"))
                        return

    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve)
        for filler in network.fillers:
            filler.close()
        assert fetch(URL, connect_timeout=FOREVER, deadline=FOREVER).md5 == MD5
        serving.result()


@pytest.mark.parametrize("ending", ["late", "cancelled", "deadline", "refused"])
def test_no_socket_is_left_over(
    ending: str,
    fetch: Fetch,
    network: Network,
) -> None:
    network.stagger(0.01)
    dead = [ipv4(network.silent_port()) for _ in range(6)]
    network.resolve(*([ipv4(network.refused_port())] * 2 if ending == "refused" else dead))
    before = count_sockets()
    if ending == "cancelled":
        fetch.is_cancelled = lambda: count_sockets() > before + 3
        with pytest.raises(FetchCancelledError):
            fetch(URL, connect_timeout=FOREVER, deadline=FOREVER)
    elif ending == "deadline":
        code = fetch.code(URL, connect_timeout=FOREVER, deadline=0.3)
        assert code is FailureCode.DEADLINE
    else:
        assert fetch.code(URL, connect_timeout=0.3) is FailureCode.CONNECT_ERROR
    assert count_sockets() == before


def test_addresses_are_tried_up_to_a_limit(fetch: Fetch, network: Network) -> None:
    network.resolve(*(ipv4(network.refused_port(), f"127.0.1.{number}") for number in range(100)))
    assert fetch.code(URL) is FailureCode.CONNECT_ERROR
    assert len(network.begun) == MAX_ADDRESSES


def test_one_address_that_is_not_public_refuses_the_name(
    originate: Originate, fetch: Fetch, network: Network
) -> None:
    """Also one that would not be tried."""
    origin = originate([reply(b"hi")])
    good = [ipv4(origin.port, f"127.0.1.{number}") for number in range(100)]
    network.resolve(*good, ipv4(origin.port, "10.0.0.1"))
    assert fetch.code(URL) is FailureCode.BLOCKED_ADDRESS
    assert network.begun == []


def test_families_take_turns() -> None:
    a, b, c = ipv4(1), ipv4(2), ipv4(3)
    x, y = ipv6(1), ipv6(2)
    assert _interleave([a]) == [a]
    assert _interleave([a, b, c, x, y]) == [a, x, b, y, c]
    assert _interleave([x, y, a]) == [x, a, y]
    assert _interleave([x, a, b, y, c]) == [x, a, y, b, c]
