"""No connection is made to an address that is not public, whatever the name, hop or moment."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools.servers.raw_origin import RawOrigin, redirect, reply
from fetch import connecting
from fetch import guard as guard_module
from fetch import transport as transport_module
from fetch.download import download
from fetch.errors import FetchError
from fetch.guard import GLOBAL_IPV6, SPECIAL_IPV4, SPECIAL_IPV6, Guard
from fetch.transport import Transport, _GuardedConnection, _GuardedTLSConnection
from tasks.errors import InvalidURLError
from tasks.failure import FailureCode
from tasks.url import parse_url
from tests.unit.fetch.fetching import LIMITS, LOOPBACK, Fetch

Originate = Callable[..., RawOrigin]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

GUARD = Guard()
BLOCKS = [ipaddress.ip_network(block) for block, _ in (*SPECIAL_IPV4, *SPECIAL_IPV6)]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:831::200e"]
METADATA = [
    "169.254.169.254",  # AWS, Google, Azure, DigitalOcean, OpenStack, Oracle, …
    "169.254.170.2",  # AWS ECS
    "169.254.170.23",  # AWS EKS
    "169.254.0.23",  # Tencent
    "fd00:ec2::254",  # AWS over IPv6
    "fd00:ec2::23",
    "fd20:ce::254",  # Google over IPv6
    "fd00:42::42",  # Scaleway
    "100.100.100.200",  # Alibaba
    "168.63.129.16",  # Azure's wire server
    "192.0.0.192",  # Oracle
    "fe80::a9fe:a9fe",  # OpenStack
]


def unwrap(address: Address) -> Address:
    """The IPv4 address inside a mapped or translated one."""
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) % 2**32)
    return getattr(address, "ipv4_mapped", None) or address


def is_special(address: Address) -> bool:
    in_block = any(address in block for block in BLOCKS if block.version == address.version)
    return in_block or (address.version == 6 and address not in GLOBAL_IPV6)


def resolve_to(*addresses: str, port: int = 0) -> list[object]:
    """What getaddrinfo answers."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
        if ":" in each
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
        for each in addresses
    ]


class Resolver:
    """In place of getaddrinfo: the n-th question gets the n-th answer, or the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Iterable[str]) -> None:
        self._answers = list(answers)
        self.questions: list[tuple[str, int]] = []
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, **_: object) -> list[object]:
        answer = self._answers[min(len(self.questions), len(self._answers) - 1)]
        self.questions.append((host, port))
        return resolve_to(*answer, port=port)


class TestAddresses:
    @pytest.mark.parametrize("block", BLOCKS, ids=str)
    def test_first_and_last_of_a_block(self, block: ipaddress.IPv4Network) -> None:
        assert not GUARD.admits(str(block[0]))
        assert not GUARD.admits(str(block[-1]))

    @pytest.mark.parametrize("block", BLOCKS, ids=str)
    def test_neighbours_of_a_block(self, block: ipaddress.IPv4Network) -> None:
        """Each is public, unless it is in the next block."""
        kind, highest = type(block[0]), 2**block.max_prefixlen - 1
        for number in (int(block[0]) - 1, int(block[-1]) + 1):
            if 0 <= number <= highest:
                assert GUARD.admits(str(kind(number))) == (not is_special(kind(number)))

    def test_the_space_of_ipv6(self) -> None:
        for text, is_public in {
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": False,
            "2000::": True,
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff": True,
            "3fff:1000::": True,
            "4000::": False,
            "::": False,
            "::1": False,
            "100::1": False,
            "5f00::1": False,
            "fc00::1": False,
            "fd00::1": False,
            "fe80::1": False,
            "fe80::1%eth0": False,
            "fec0::1": False,
            "ff02::1": False,
            "ff0e::1": False,
        }.items():
            assert GUARD.admits(text) == is_public, text

    @pytest.mark.parametrize("text", PUBLIC)
    def test_public(self, text: str) -> None:
        assert GUARD.admits(text)

    @pytest.mark.parametrize("text", METADATA)
    def test_metadata_of_clouds(self, text: str) -> None:
        assert not GUARD.admits(text)
        assert ":" in text or not GUARD.admits(f"::ffff:{text}")

    def test_mapped_is_the_address_inside(self) -> None:
        assert GUARD.admits("::ffff:8.8.8.8")
        assert not GUARD.admits("::ffff:127.0.0.1")
        assert not GUARD.admits("::ffff:a9fe:a9fe")

    @pytest.mark.parametrize("inside", ["8.8.8.8", "127.0.0.1", "10.0.0.1", "169.254.169.254"])
    @pytest.mark.parametrize(
        "prefix",
        [
            "::{a}",  # compatible, RFC 4291
            "::ffff:0:{a}",  # translated, RFC 2765
            "64:ff9b:0:1::{a}",  # beside NAT64's prefix
            "64:ff9b:1::{a}",  # NAT64 locally, RFC 8215
            "2002:{hex}::1",  # 6to4
            "2001:0:{hex}::1",  # Teredo's server
            "2001::{hex}",  # Teredo's client
            "2001::{inverted}",
            "2606:4700::5efe:{a}",  # ISATAP
            "2606:4700::200:5efe:{a}",
            "fe80::5efe:{a}",
        ],
    )
    def test_ipv4_inside_ipv6(self, prefix: str, inside: str) -> None:
        """No router of ours should decide where those go: not even public ones are admitted."""
        number = int(ipaddress.IPv4Address(inside))
        high, low = divmod(number, 2**16)
        inverted = f"{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
        text = prefix.format(a=inside, hex=f"{high:x}:{low:x}", inverted=inverted)
        assert not GUARD.admits(text)

    @pytest.mark.parametrize("form", ["64:ff9b::{}", "64:ff9b:0::{}", "64:FF9B:0:0:0:0:{}"])
    def test_nat64_is_judged_by_the_ipv4_address_inside(self, form: str) -> None:
        """DNS64 makes such an address of each IPv4-only host: RFC 6052 § 2.1."""
        for public in ("8.8.8.8", "93.184.216.34", "172.32.0.1"):
            assert GUARD.admits(form.format(public))
        for private in ("127.0.0.1", "10.0.0.1", "100.64.0.1", "224.0.0.1", "0.0.0.0"):
            assert not GUARD.admits(form.format(private))
        for metadata in METADATA:
            assert ":" in metadata or not GUARD.admits(form.format(metadata))

    def test_networks_of_ipv4_hold_behind_nat64(self) -> None:
        guard = Guard([ipaddress.ip_network("10.1.0.0/16")], [ipaddress.ip_network("8.0.0.0/8")])
        assert guard.admits("64:ff9b::10.1.2.3")
        assert not guard.admits("64:ff9b::10.2.0.1")
        assert not guard.admits("64:ff9b::8.8.8.8")

    @pytest.mark.parametrize("wide", ["64:ff9b::/96", "64:ff9b::/32", "::/0"])
    def test_networks_around_nat64(self, wide: str) -> None:
        """They name the translator, and do not open the private networks behind it."""
        network = ipaddress.ip_network(wide)
        assert not Guard(allow=[network]).admits("64:ff9b::169.254.169.254")
        assert not Guard(allow=[network]).admits("169.254.169.254")
        assert Guard(allow=[network]).admits("64:ff9b::8.8.8.8")
        assert not Guard(deny=[network]).admits("64:ff9b::8.8.8.8")

    def test_networks_inside_nat64(self) -> None:
        network = ipaddress.ip_network("64:ff9b::10.1.0.0/112")
        assert Guard(allow=[network]).admits("64:ff9b::10.1.2.3")
        assert not Guard(allow=[network]).admits("64:ff9b::10.2.0.1")
        assert not Guard(allow=[network]).admits("10.1.2.3")
        assert not Guard(deny=[ipaddress.ip_network("64:ff9b::8.8.8.0/120")]).admits(
            "64:ff9b::8.8.8.8"
        )

    def test_local_nat64(self) -> None:
        """RFC 8215: its prefixes have any length, so the IPv4 address inside is unknown."""
        allowed = Guard(allow=[ipaddress.ip_network("64:ff9b:1:a::/96")])
        assert allowed.admits("64:ff9b:1:a::8.8.8.8")
        assert not allowed.admits("64:ff9b:1:b::8.8.8.8")

    @pytest.mark.parametrize(
        "text", ["", "localhost", "1.2.3", "1::2::3", "fe80::1%a%b", "8.8.8.8%1"]
    )
    def test_text_that_is_not_an_address_is_refused(self, text: str) -> None:
        assert not Guard(allow=[ipaddress.ip_network("0.0.0.0/0")]).admits(text)

    def test_allow(self) -> None:
        guard = Guard(allow=[ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")])
        assert guard.admits("10.1.2.3")
        assert guard.admits("::ffff:10.1.2.3")
        assert guard.admits("fd00::1")
        assert guard.admits("8.8.8.8")
        assert not guard.admits("10.2.0.0")
        assert not guard.admits("fc00::1")

    def test_deny_wins(self) -> None:
        wide, narrow = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.1.0.0/16")
        for guard in (Guard([wide], [narrow]), Guard([narrow], [wide])):
            assert not guard.admits("10.1.2.3")
            assert not guard.admits("::ffff:10.1.2.3")
        assert not Guard(deny=[ipaddress.ip_network("8.0.0.0/8")]).admits("8.8.8.8")

    def test_networks_of_mapped_addresses(self) -> None:
        """An operator may write a network as IPv6 that is looked up as IPv4."""
        mapped = ipaddress.ip_network("::ffff:10.1.0.0/112")
        assert Guard(allow=[mapped]).admits("10.1.2.3")
        assert not Guard(deny=[ipaddress.ip_network("::ffff:8.8.0.0/112")]).admits("8.8.8.8")

    @given(st.ip_addresses())
    def test_admitted_addresses_are_public(self, address: Address) -> None:
        if GUARD.admits(str(address)):
            assert unwrap(address).is_global
            assert not is_special(unwrap(address))


class TestConnections:
    def test_mixed_answers(self, originate: Originate, monkeypatch: pytest.MonkeyPatch) -> None:
        origin = originate([reply(b"hi")])
        resolver = Resolver(monkeypatch, ["127.0.0.1", "10.0.0.1"])
        with using(Guard(allow=LOOPBACK)) as fetch:
            assert fetch.code(f"http://a.example:{origin.port}") is FailureCode.BLOCKED_ADDRESS
        assert (origin.connections, len(resolver.questions)) == (0, 1)

    def test_each_connection_has_one_lookup(
        self, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([redirect("/x")], [reply(b"hi")])
        resolver = Resolver(monkeypatch, ["127.0.0.1"])
        fetch(f"http://a.example:{origin.port}")
        assert resolver.questions == [("a.example", origin.port)] * origin.connections
        assert origin.connections == 2

    def test_the_next_address_is_tried(
        self, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([reply(b"hi")])
        Resolver(monkeypatch, ["::1", "127.0.0.2", "127.0.0.1"])
        assert fetch(f"http://a.example:{origin.port}").size == 2

    def test_rebinding_between_look_ups(
        self, originate: Originate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Public first, then ours: the second look-up is never made, or it is refused."""
        origin = originate([reply(b"hi")])
        resolver = Resolver(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        connects = Connects(monkeypatch)
        with using(Guard()) as fetch:
            url = f"http://a.example:{origin.port}"
            assert fetch.code(url) is FailureCode.CONNECT_ERROR
            assert connects.hosts == ["93.184.216.34"]
            assert len(resolver.questions) == 1
            assert fetch.code(url) is FailureCode.BLOCKED_ADDRESS
        assert origin.connections == 0

    def test_rebinding_between_hops(
        self, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([redirect("/again")])
        Resolver(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
        connects = Connects(monkeypatch, is_real=True)
        assert fetch.code(f"http://a.example:{origin.port}") is FailureCode.BLOCKED_ADDRESS
        assert connects.hosts == ["127.0.0.1"]

    @pytest.mark.parametrize(
        "target",
        ["http://10.0.0.1/", "//192.168.1.1/", "http://[::ffff:10.0.0.1]/", "https://[fd00::1]/",
         "http://169.254.169.254/latest/meta-data/", "http://a.example/"],
    )  # fmt: skip
    def test_redirect_to_a_private_address(
        self, target: str, originate: Originate, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origin = originate([redirect(target)])
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *args, **kwargs: look_up(
                "10.0.0.1" if host == "a.example" else host, *args, **kwargs
            ),
        )
        connects = Connects(monkeypatch, is_real=True)
        error = fetch.failure(origin.base)
        assert (error.failure.code, error.is_permanent) == (FailureCode.BLOCKED_ADDRESS, True)
        assert connects.hosts == ["127.0.0.1"]

    @pytest.mark.parametrize(
        "host",
        ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127%2e0%2e0%2e1",
         "%31%32%37.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "①②⑦.0.0.1",
         "127。0。0。1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]",
         "[::]", "0.0.0.0", "[::127.0.0.1]"],
    )  # fmt: skip
    def test_disguised_loopback(self, host: str, originate: Originate) -> None:
        """Also where nobody has asked `parse_url`: the address counts, not how it is written."""
        origin = originate([reply(b"hi")])
        with using(Guard()) as fetch:
            code = fetch.code(f"http://{host}:{origin.port}/")
        assert code in (
            FailureCode.BLOCKED_ADDRESS, FailureCode.DNS_ERROR, FailureCode.PROTOCOL_ERROR
        )  # fmt: skip
        assert origin.connections == 0

    @pytest.mark.parametrize("is_open", [True, False])
    def test_the_machines_own_public_address(
        self,
        is_open: bool,  # noqa: FBT001
        originate: Originate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Both ends of the connection have it. A closed port gives the same outcome."""
        monkeypatch.setattr(guard_module, "_SPECIAL", {4: (), 6: ()})  # loopback is public now
        origin = originate([reply(b"hi")])
        with socket.socket() as bound, using(Guard()) as fetch:
            bound.bind(("127.0.0.1", 0))
            port = origin.port if is_open else bound.getsockname()[1]
            error = fetch.failure(f"http://127.0.0.1:{port}/")
        assert (error.failure.code, error.is_permanent) == (FailureCode.BLOCKED_ADDRESS, True)
        assert origin.requests == []

    def test_the_machines_own_address_among_others(
        self, originate: Originate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard_module, "_SPECIAL", {4: (), 6: ()})
        origin = originate([reply(b"hi")])
        Resolver(monkeypatch, ["127.0.0.9", "127.0.0.1"])  # the first is not the source address
        with socket.socket() as bound, using(Guard()) as fetch:
            bound.bind(("127.0.0.9", 0))
            code = fetch.code(f"http://a.example:{bound.getsockname()[1]}/")
        assert code is FailureCode.BLOCKED_ADDRESS
        assert origin.connections == 0

    def test_both_ends(self) -> None:
        guard = Guard(allow=[ipaddress.ip_network("10.1.0.0/16")])
        guard.check_ends("8.8.8.8", "8.8.4.4")
        guard.check_ends("10.1.0.1", "10.1.0.1")
        guard.check_ends("::ffff:10.1.0.1", "::ffff:10.1.0.1")
        for address in ("8.8.8.8", "2a00::1", "::ffff:8.8.8.8"):
            with pytest.raises(FetchError):
                guard.check_ends(address, address)

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254"])
    def test_messages_contain_no_address(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Resolver(monkeypatch, [address])
        with using(Guard()) as fetch:
            failure = fetch.failure("http://internal.example:8080/secret").failure
        assert failure.message == "The host is not on the public Internet."


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def environment(self, tmp_path: Path) -> Iterator[None]:
        netrc = tmp_path / ".netrc"
        netrc.write_text("default login me password secret\n")
        netrc.chmod(0o600)
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        proxies = dict.fromkeys(names, "http://me:secret@10.0.0.1:3128")
        with mock.patch.dict(
            os.environ, {**proxies, "NETRC": str(netrc), "HOME": str(tmp_path), "NO_PROXY": ""}
        ):
            yield

    def test_is_ignored(self, originate: Originate, fetch: Fetch) -> None:
        origin = originate([redirect("/x")],
                           [reply(b"hi", 'WWW-Authenticate: Basic realm="x"')])  # fmt: skip
        assert fetch(origin.base).size == 2
        for request in origin.requests:
            assert request.startswith(b"GET /")
            for word in (b"secret", b"authorization", b"proxy"):
                assert word not in request.lower()

    def test_no_proxy_can_be_asked_for(self, fetch: Fetch) -> None:
        with pytest.raises(RuntimeError):
            fetch.transport.proxy_manager_for("http://10.0.0.1:3128")


class TestHook:
    """These fail when an upgrade of urllib3 or requests goes past the guard."""

    @pytest.mark.parametrize(
        ("scheme", "kind"), [("http", _GuardedConnection), ("https", _GuardedTLSConnection)]
    )
    def test_connections_are_ours(
        self, scheme: str, kind: type[_GuardedConnection], fetch: Fetch
    ) -> None:
        pool = fetch.transport.poolmanager.connection_from_url(f"{scheme}://a.example")
        connection = pool._new_conn()
        assert type(connection) is kind
        assert kind._new_conn is _GuardedConnection._new_conn

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_guard_that_refuses_all(self, scheme: str, host: str, originate: Originate) -> None:
        origin = originate([reply(b"hi")])
        guard = Guard(deny=[ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
        with using(guard) as fetch:
            url = f"{scheme}://{host}:{origin.port}/"
            assert fetch.code(url) is FailureCode.BLOCKED_ADDRESS
        assert origin.connections == 0

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_sockets_are_bounded(self, scheme: str, fetch: Fetch) -> None:
        """The very socket class whose waits ask the bounds is what the connection makes."""
        made: list[str] = []

        def connect(_transport: Transport, host: str, port: int) -> NoReturn:
            made.append(f"{scheme}://{host}:{port}")
            raise FetchError(FailureCode.CONNECT_ERROR, "made")

        with mock.patch.object(transport_module, "connect", connect):
            assert fetch.failure(f"{scheme}://a.example:81/").failure.message == "made"
        assert made == [f"{scheme}://a.example:81"]


class Connects:
    """In place of the way to a socket: remembers the addresses, and connects if it `is_real`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_real: bool = False) -> None:
        self.hosts: list[str] = []
        begin = connecting._Race._begin

        def connect(race: connecting._Race, family: int, address: tuple[object, ...]) -> bool:
            self.hosts.append(str(address[0]))
            return is_real and begin(race, family, address)

        monkeypatch.setattr(connecting._Race, "_begin", connect)


class using:  # noqa: N801  used as a function
    """`Fetch` with a guard of its own."""

    def __init__(self, guard: Guard) -> None:
        self._fetch = Fetch(Transport(guard))

    def __enter__(self) -> Fetch:
        return self._fetch

    def __exit__(self, *_: object) -> None:
        self._fetch.transport.close()


HOSTS = st.one_of(
    st.ip_addresses().map(lambda each: f"[{each}]" if each.version == 6 else str(each)),
    st.sampled_from(["a.example", "localhost", "xn--bcher-kva.example", "bücher.example"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.from_regex(r"[a-z0-9.%x-]{1,12}", fullmatch=True),
)
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    HOSTS,
    st.sampled_from(["", ":80", ":8080", ":443", ":"]),
    st.just("") | st.builds("{}{}".format, st.sampled_from("/?#"), st.text(max_size=12)),
)
NETWORKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "::1/128", "8.0.0.0/8", "2000::/3", "0.0.0.0/0"])
    .map(ipaddress.ip_network),
    max_size=2,
)  # fmt: skip


@given(
    URLS,
    st.lists(st.ip_addresses() | st.sampled_from([ipaddress.ip_address(a) for a in PUBLIC])),
    NETWORKS,
    NETWORKS,
)
def test_no_connect_outside_the_rules(
    url: str,
    answers: list[Address],
    allow: list[ipaddress.IPv4Network],
    deny: list[ipaddress.IPv4Network],
) -> None:
    """Whatever URL is accepted, and whatever the resolver says."""
    try:
        parse_url(url)
    except InvalidURLError:
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        Resolver(monkeypatch, [str(each) for each in answers])
        connects = Connects(monkeypatch)
        transport = Transport(Guard(allow, deny))
        with pytest.raises(FetchError) as caught:
            download(url, transport, LIMITS)
        transport.close()
    inside = [unwrap(each) for each in answers]
    is_bad = any(
        any(each in network for network in deny)
        or (is_special(each) and not any(each in network for network in allow))
        for each in inside
    )
    code = caught.value.failure.code
    if is_bad:
        assert connects.hosts == []
        assert code is FailureCode.BLOCKED_ADDRESS
    elif answers:
        tried = list(dict.fromkeys(str(each) for each in answers))
        assert set(connects.hosts) <= set(tried)
        assert len(connects.hosts) == min(len(tried), connecting.MAX_ADDRESSES)
        assert connects.hosts[0] == tried[0]
        assert code is FailureCode.CONNECT_ERROR
    else:
        assert code is FailureCode.DNS_ERROR
