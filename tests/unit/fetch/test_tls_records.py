"""One call takes all records that have arrived, and what goes wrong behind them is not lost."""

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from fetch.bounds import Bounds
from fetch.errors import FetchError
from fetch.guard import Guard
from fetch.tls import make_context
from fetch.transport import Transport
from tests.unit.fetch.fetching import LIMITS

RECORD_BYTES = 2**14  # at most, RFC 8446 § 5.1
BUFFER_BYTES = 2**19  # what fits between two sockets, and what is read at once
LOST = b"never received" * 100
SIZES = [1, 100, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 3 * RECORD_BYTES, BUFFER_BYTES]


class Server:
    """One end of a connection. It makes records first, and sends them later."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self.connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self) -> None:
        is_done = False
        while not is_done:
            try:
                self._tls.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self.connection.recv(65536))
        self._flush()

    def _flush(self) -> None:
        self.connection.sendall(self._outgoing.read())

    def record(self, content: bytes) -> bytes:
        assert self._tls.write(content) == len(content) <= RECORD_BYTES
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()


class Ends:
    """A client and its server, after the handshake."""

    def __init__(self, client: ssl.SSLSocket, server: Server) -> None:
        self.client = client
        self.server = server

    def send(self, data: bytes) -> None:
        """Send what the client can take without having read before."""
        self.server.connection.sendall(data)

    def receive(self, size: int = BUFFER_BYTES) -> bytes:
        """Call once."""
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: self.client.recv_into(buffer)])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificate of the authority is."""
    return tmp_path_factory.mktemp("tls") / "ca.pem"


@pytest.fixture(scope="module")
def server_context(bundle: Path) -> ssl.SSLContext:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def ends(server_context: ssl.SSLContext, bundle: Path) -> Iterator[Ends]:
    owner = Transport(Guard(), ca_bundle=bundle)
    owner.bounds = Bounds(LIMITS, lambda: False)
    connection, other = socket.socketpair()
    connection.settimeout(0.2)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BUFFER_BYTES)
    server = Server(other, server_context)
    thread = threading.Thread(target=server.shake_hands)
    thread.start()
    context = make_context(owner, bundle)
    with other, context.wrap_socket(connection, server_hostname="localhost") as client:
        thread.join()
        yield Ends(client, server)
    owner.close()


def contents(count: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.choice([1, 300, RECORD_BYTES])) for _ in range(count)]


def test_one_call_takes_all_records(ends: Ends) -> None:
    sent = contents(20)
    ends.send(b"".join(map(ends.server.record, sent)))
    assert ends.receive() == b"".join(sent)


def test_it_does_not_wait_for_the_rest_of_a_record(ends: Ends) -> None:
    timeout = ends.client.gettimeout()
    first, second = contents(2)
    record, cut_record = ends.server.record(first), ends.server.record(second)
    ends.send(record + cut_record[:-1])
    assert ends.receive() == first
    assert ends.client.gettimeout() == timeout
    ends.send(cut_record[-1:])
    assert ends.receive() == second


@pytest.mark.parametrize("size", SIZES)
def test_a_buffer_of_any_size(ends: Ends, size: int) -> None:
    content = b"".join(sent := contents(8))
    ends.send(b"".join(map(ends.server.record, sent)))
    expected = [content[at : at + size] for at in range(0, min(len(content), 100 * size), size)]
    assert [ends.receive(size) for _ in expected] == expected


def close(ends: Ends) -> None:
    ends.server.connection.close()


def reset(ends: Ends) -> None:
    """A socket that is closed with unread input resets its connection."""
    ends.client.sendall(b"unread")
    ends.server.connection.close()


def damage(ends: Ends) -> None:
    record = ends.server.record(LOST)
    ends.send(record[:-1] + bytes([record[-1] ^ 1]))


def cut(ends: Ends) -> None:
    ends.send(ends.server.record(LOST)[:-1])
    ends.server.connection.close()


def send_http(ends: Ends) -> None:
    ends.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


ERRORS: dict[str, Callable[[Ends], None]] = {
    "no close_notify": close,
    "reset": reset,
    "damaged record": damage,
    "half a record": cut,
    "no record": send_http,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_behind_any_number_of_records(
    ends: Ends, name: str, count: int, size: int
) -> None:
    content = b"".join(sent := contents(count, seed=count))
    ends.send(b"".join(map(ends.server.record, sent)))
    ERRORS[name](ends)
    assert receive_all(ends, len(content), size) == content
    for _ in range(2):  # it remains an error
        with pytest.raises((FetchError, ConnectionResetError)):
            ends.receive(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_close_notify_behind_any_number_of_records(ends: Ends, count: int, size: int) -> None:
    content = b"".join(sent := contents(count, seed=count))
    ends.send(b"".join(map(ends.server.record, sent)) + ends.server.close_notify())
    assert receive_all(ends, len(content), size) == content
    assert [ends.receive(size), ends.receive(size)] == [b"", b""]


def receive_all(ends: Ends, length: int, size: int) -> bytes:
    received = b""
    while len(received) < length:
        received += (part := ends.receive(size))
        assert part
    return received
