"""The Flower transport with real processes: one SuperLink, four SuperNodes, four resident executors.

The ServerApp process is Flower's own. A `sitecustomize` on its path puts a driver in the place of
`intertwine.server.rounds`, which makes the exchanges that the test asks for over a local socket.
"""

import hashlib
import io
import json
import secrets
import socket
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from intertwine.protocols.errors import FederationError, InputError

with warnings.catch_warnings():
    # Flower caps typer below 0.21, and that release uses names which click 8.5 deprecates.
    warnings.filterwarnings("ignore", message="'click", category=DeprecationWarning)
    from flwr.common.serde import user_config_to_proto
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab
    from intertwine.client.executor import Executor
    from intertwine.client.supernode import SuperNode, create_node_key
    from intertwine.server.superlink import ControlClient, SuperLink

NODES = 4
DRIVER = """
import sys, types

def run(fleet, run_config):
    import json, time
    from multiprocessing.connection import Client
    from pathlib import Path
    home = Path(run_config["home"])
    with Client(str(home / "driver.socket"), authkey=None) as test:
        while True:
            asked = json.loads(test.recv_bytes())
            if asked is None:
                return
            if asked == "online":
                test.send_bytes(json.dumps(sorted(fleet.online())).encode())
                continue
            order = []
            requests = {int(node): bytes.fromhex(payload) for node, payload in asked["requests"].items()}
            began = time.monotonic()
            replies = fleet.exchange(requests, asked["timeout_s"], lambda node, reply: order.append(node))
            answer = {"seconds": time.monotonic() - began, "order": order, "replies": {}}
            for node, reply in replies.items():
                answer["replies"][node] = reply.hex() if isinstance(reply, bytes) else [reply.kind.value, reply.reason]
            test.send_bytes(json.dumps(answer).encode())

driver = types.ModuleType("intertwine.server.rounds")
driver.run = run
sys.modules["intertwine.server.rounds"] = driver
"""


@dataclass
class Coordinator:
    """A run whose ServerApp does what the test says."""

    control: ControlClient
    run_id: int
    connection: Connection

    def online(self) -> set[int]:
        self.connection.send_bytes(json.dumps("online").encode())
        return set(json.loads(self.connection.recv_bytes()))

    def exchange(self, requests: dict[int, bytes], timeout_s: float = 60) -> tuple[dict[int, object], float]:
        asked = {"requests": {node: payload.hex() for node, payload in requests.items()}, "timeout_s": timeout_s}
        self.connection.send_bytes(json.dumps(asked).encode())
        answer = json.loads(self.connection.recv_bytes())
        replies: dict[int, object] = {
            int(node): bytes.fromhex(reply) if isinstance(reply, str) else reply[0]
            for node, reply in answer["replies"].items()
        }
        got = {node for node, reply in replies.items() if isinstance(reply, bytes)}
        assert set(answer["order"]) == got
        return replies, answer["seconds"]

    def finish(self) -> None:
        self.connection.send_bytes(json.dumps(None).encode())
        wait_for(lambda: self.control.run_status(self.run_id).startswith("finished"), 20)


@dataclass
class Federation:
    superlink: SuperLink
    home: Path
    nodes: dict[int, SuperNode]
    seen: list[bytes] = field(default_factory=list)

    def launch(self) -> Coordinator:
        with Listener(str(self.home / "driver.socket")) as listener:
            run_id = self.superlink.launch({"home": str(self.home), "run": "test"})
            return Coordinator(self.superlink, run_id, listener.accept())


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate for loopback with its key."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .issuer_name(authority)
            .subject_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    root = certificate(authority, authority_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    leaf = certificate(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "superlink")]), key.public_key()
    ).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]),
        critical=False,
    )
    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(root.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    paths[1].write_bytes(leaf.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    paths[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def handle(request: bytes, run_id: int) -> bytes:
    assert run_id > 0
    if request == b"fail":
        raise ValueError("a secret that must stay here")
    if request == b"slow":
        time.sleep(4)
    return hashlib.sha256(request).digest() + request


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    home = tmp_path_factory.mktemp("federation")
    (home / "path").mkdir()
    (home / "path" / "sitecustomize.py").write_text(DRIVER)
    ca, certificate, key = write_certificates(home)
    superlink = SuperLink(
        home / "coordinator",
        host="127.0.0.1",
        port=free_port(),
        ca=ca,
        certificate=certificate,
        key=key,
        environment={"PYTHONPATH": str(home / "path")},
    )
    stop = threading.Event()
    threads = []
    nodes = {}
    try:
        superlink.start()
        for number in range(NODES):
            public = create_node_key(home / f"node{number}.key")
            node_id = superlink.register(public)
            assert superlink.register(public) == node_id
            node = SuperNode(
                home / f"node{number}", address=superlink.address, ca=ca, key=home / f"node{number}.key"
            )
            nodes[node_id] = node
            threads.append(threading.Thread(target=Executor(node, handle).run, args=(stop,)))
            threads[-1].start()
        yield Federation(superlink, home, nodes)
    finally:
        stop.set()
        superlink.stop()
        for thread in threads:
            thread.join()


def test_four_nodes_exchange_five_rounds(federation: Federation) -> None:
    run = federation.launch()
    wait_for(lambda: run.online() == set(federation.nodes), 40)
    for number in range(5):
        size = 1_000_000 if number == 2 else 1000
        requests = {node: secrets.token_bytes(size) for node in federation.nodes}
        replies, seconds = run.exchange(requests)
        print(f"exchange of {size} bytes: {seconds:.2f} s")
        assert replies == {node: hashlib.sha256(sent).digest() + sent for node, sent in requests.items()}
    run.finish()
    assert federation.superlink.run_status(run.run_id) == "finished:completed"
