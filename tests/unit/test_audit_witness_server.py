"""The witness over HTTP: status codes of C2SP tlog-witness, and bounds on what a peer may do."""

import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from intertwine.protocols.checkpoint import Checkpoint, log_verifier, sign_checkpoint
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.witnessing import MAX_REQUEST_BYTES, AddCheckpoint, checkpoint_path
from intertwine.zk.audit import witness_server
from intertwine.zk.audit.witness import Witness, WitnessHome
from intertwine.zk.audit.witness_server import WitnessServer
from tests.recording import fixed_key

KEY = fixed_key("log")
LOG = log_verifier(KEY.public)
TREE = Tree(leaf_hash(bytes([number])) for number in range(20))
FORK = Tree(leaf_hash(bytes([number, 1])) for number in range(20))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WitnessServer]:
    witness = Witness(WitnessHome.create(tmp_path / "w", "witness.example/w1"), [LOG])
    with WitnessServer(witness, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    witness.close()


def ask(
    server: WitnessServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, str]:
    """Status, media type and text of the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def add(server: WitnessServer, body: bytes) -> tuple[int, str, str]:
    return ask(server, "POST", "/add-checkpoint", body)


def request(old: int, size: int, tree: Tree = TREE, origin: str = LOG.name) -> bytes:
    note = sign_checkpoint(Checkpoint(origin, size, tree.root(size)), KEY)
    return AddCheckpoint(old, tuple(tree.consistency(old, size)), note).encode()


def test_status_codes(server: WitnessServer) -> None:
    status, kind, line = add(server, request(0, 4))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert line.startswith("— witness.example/w1 ")
    forged = sign_checkpoint(Checkpoint(LOG.name, 9, TREE.root(9)), fixed_key("mallory"))
    assert add(server, b"hello")[0] == 400
    assert add(server, AddCheckpoint(4, (), forged).encode())[0] == 403
    assert add(server, request(4, 9, origin="intertwine/other"))[0] == 404
    assert add(server, request(0, 9)) == (409, "text/x.tlog.size", "4\n")
    assert add(server, request(4, 4, FORK)) == (409, "text/x.tlog.size", "4\n")
    assert add(server, request(4, 9, FORK))[0] == 422
    assert add(server, request(4, 9))[0] == 200


def test_reading(server: WitnessServer) -> None:
    path = checkpoint_path(LOG.name)
    assert ask(server, "GET", path)[0] == 404
    line = add(server, request(0, 4))[2]
    note = sign_checkpoint(Checkpoint(LOG.name, 4, TREE.root(4)), KEY) + line
    assert ask(server, "GET", path) == (200, "text/plain; charset=utf-8", note)
    assert ask(server, "HEAD", path) == (200, "text/plain; charset=utf-8", "")
    assert ask(server, "GET", "/healthz")[::2] == (200, "ok\n")
    for other in ("/", "/checkpoint/", "/state.json", "/../witness.key"):
        assert ask(server, "GET", other)[0] == 404
    assert ask(server, "POST", "/healthz", b"")[0] == 404
    assert ask(server, "DELETE", "/add-checkpoint")[0] == 501


def test_unexpected_errors_stay_inside(server: WitnessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.witness, "_turn", None)
    assert add(server, request(0, 4))[::2] == (500, "The witness failed to answer.\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("", 411),
        ("Content-Length: many\r\n", 411),
        ("Content-Length: -1\r\n", 411),
        ("Transfer-Encoding: chunked\r\n", 411),
        (f"Content-Length: {MAX_REQUEST_BYTES + 1}\r\n", 413),
        (f"Content-Length: {'9' * 5000}\r\n", 413),
        ("Content-Length: 5\r\n", 400),
    ],
)
def test_bodies_are_bounded(server: WitnessServer, headers: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as peer:
        peer.sendall(f"POST /add-checkpoint HTTP/1.1\r\n{headers}\r\nhello".encode())
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(100).startswith(f"HTTP/1.0 {status} ".encode())


def test_headers_are_bounded(server: WitnessServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(OSError):  # reset or broken pipe, whichever comes first
            for _ in range(1000):
                peer.sendall(b"X: " + b"x" * 1000 + b"\r\n")
                time.sleep(0.001)


def test_slow_peers_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: WitnessServer
) -> None:
    monkeypatch.setattr(witness_server, "REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_port), 5) as peer:
        started = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < started + 5:
                peer.sendall(b"G")
                time.sleep(0.02)
        assert time.monotonic() < started + 3


def test_connections_are_bounded(server: WitnessServer) -> None:
    """Those beyond the bound are closed unread; there is room again once the others have ended."""
    bound = witness_server.MAX_CONNECTIONS
    peers = [socket.create_connection(("127.0.0.1", server.server_port), 5) for _ in range(bound + 8)]
    closed: list[socket.socket] = []
    deadline = time.monotonic() + 5
    while len(closed) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
        closed = select.select(peers, [], [], 0)[0]
    for peer in peers:
        peer.close()
    assert len(closed) == 8
    for _ in range(100):
        try:
            assert ask(server, "GET", "/healthz")[0] == 200
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail("there is no room again")
