"""The Flower transport with real processes: a SuperLink behind its proxy, four SuperNodes, four executors.

The ServerApp process is Flower's own. A `sitecustomize` on its path puts a driver in the place of
`intertwine.server.driver`, which makes the exchanges that the test asks for over a local socket.
"""

import hashlib
import io
import json
import re
import secrets
import socket
import ssl
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import httpx
import pytest

from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.fab import PAYLOAD_LIMIT, manifest_fab

with warnings.catch_warnings():
    # Flower caps typer below 0.21, and that release uses names which click 8.5 deprecates.
    warnings.filterwarnings("ignore", message="'click", category=DeprecationWarning)
    from flwr.common.constant import ErrorCode
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab

    from intertwine.client.connection import Connection
    from intertwine.client.executor import Executor
    from intertwine.client.supernode import SuperNode, create_node_key
    from intertwine.server.fleet_proxy import fleet_proxy
    from intertwine.server.home import CoordinatorSettings, Home
    from intertwine.server.superlink import ControlClient, SuperLink, node_key_pem
    from intertwine.server.up import https_server, serving

NODES = 4
SLOW_S = 8
DRIVER = """
import sys, types

def drive(fleet, run_config, flower_run):
    import json
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
            order, payloads, failures = [], {}, {}
            requests = {int(node): bytes.fromhex(payload) for node, payload in asked["requests"].items()}
            replies = fleet.exchange(requests, asked["timeout_s"], lambda node, reply: order.append(node))
            for node, reply in replies.items():
                if isinstance(reply, bytes):
                    payloads[node] = reply.hex()
                else:
                    failures[node] = [reply.kind.value, reply.reason]
            test.send_bytes(json.dumps({"order": order, "payloads": payloads, "failures": failures}).encode())

driver = types.ModuleType("intertwine.server.driver")
driver.drive = drive
sys.modules["intertwine.server.driver"] = driver
"""


CODE_COORDINATOR = """
import json
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    record = RecordDict({"intertwine": ConfigRecord({"payload": b"good"})})
    messages = [Message(record, node, "query.request") for node in grid.get_node_ids()]
    replies = grid.send_and_receive(messages, timeout=25)
    codes = [reply.error.code if reply.has_error() else "answered" for reply in replies]
    Path(HOME, "codes.json").write_text(json.dumps(codes))
"""
ANSWER = hashlib.sha256(b"good").digest() + b"good"
HANDLED: list[bytes] = []
READY: list[int] = []


@dataclass
class Coordinator:
    """A run whose ServerApp does what the test says."""

    control: ControlClient
    run_id: int
    connection: Connection
    reasons: dict[int, str] = field(default_factory=dict)

    def online(self) -> set[int]:
        self.connection.send_bytes(json.dumps("online").encode())
        return set(json.loads(self.connection.recv_bytes()))

    def exchange(self, requests: dict[int, bytes], timeout_s: float = 60) -> dict[int, bytes | str]:
        """Payload, or kind of failure, of each node; `reasons` keeps the failures' reasons."""
        payloads = {node: payload.hex() for node, payload in requests.items()}
        self.connection.send_bytes(json.dumps({"requests": payloads, "timeout_s": timeout_s}).encode())
        answer = json.loads(self.connection.recv_bytes())
        assert set(answer["order"]) == {int(node) for node in answer["payloads"]}
        self.reasons = {int(node): reason for node, (_, reason) in answer["failures"].items()}
        replies: dict[int, bytes | str] = {
            int(node): bytes.fromhex(payload) for node, payload in answer["payloads"].items()
        }
        return replies | {int(node): kind for node, (kind, _) in answer["failures"].items()}

    def finish(self) -> str:
        """The run's status after its ServerApp ended."""
        self.connection.send_bytes(json.dumps(None).encode())
        wait_for(lambda: self.control.run_status(self.run_id).startswith("finished"), 20)
        return self.control.run_status(self.run_id)


@dataclass
class Federation:
    superlink: SuperLink
    home: Path
    nodes: dict[int, SuperNode]
    proxy: str

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


def link(home: Home, environment: Mapping[str, str] | None = None) -> SuperLink:
    """The SuperLink of a coordinator's home."""
    return SuperLink(
        home.flower,
        host="127.0.0.1",
        port=home.settings.superlink_port,
        ca=home.authority,
        certificate=home.certificate,
        key=home.certificate_key,
        environment=environment,
    )


def handle(request: bytes, run_id: int) -> bytes:
    assert run_id > 0
    HANDLED.append(request)
    if request == b"fail":
        raise ValueError("a secret that must stay here")
    if request == b"slow":
        time.sleep(SLOW_S)
    return hashlib.sha256(request).digest() + request


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    home = tmp_path_factory.mktemp("federation")
    (home / "path").mkdir()
    (home / "path" / "sitecustomize.py").write_text(DRIVER)
    coordinator = Home.create(home / "coordinator", CoordinatorSettings(superlink_port=free_port()))
    superlink = link(coordinator, {"PYTHONPATH": str(home / "path")})
    keys: set[bytes] = set()
    url = f"https://{superlink.address}"
    proxy = https_server(coordinator, fleet_proxy(url, coordinator.authority, keys.__contains__))
    with ExitStack() as stack:
        stack.callback(superlink.stop)
        superlink.start()
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(serving(proxy, listener))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        stop = threading.Event()
        nodes = {}
        for number in range(NODES):
            public = create_node_key(home / f"node{number}.key")
            keys.add(node_key_pem(public))
            node_id = superlink.register(public)
            assert superlink.register(public) == node_id
            key = home / f"node{number}.key"
            node = SuperNode(home / f"node{number}", address=address, ca=coordinator.authority, key=key)
            nodes[node_id] = node
            connection = Connection(node, partial(READY.append, node_id), lambda: None)
            thread = threading.Thread(target=Executor(node, handle, connection).run, args=(stop,))
            stack.callback(thread.join)
            thread.start()
        stack.callback(stop.set)
        yield Federation(superlink, home, nodes, address)


@pytest.fixture(scope="module")
def run(federation: Federation) -> Coordinator:
    run = federation.launch()
    wait_for(lambda: run.online() == set(federation.nodes), 40)
    return run


def test_four_nodes_exchange_five_rounds(federation: Federation, run: Coordinator) -> None:
    wait_for(lambda: len(READY) == NODES, 5)
    assert set(READY) == set(federation.nodes)
    for number in range(5):
        size = PAYLOAD_LIMIT - 32 if number == 2 else 1000  # the replies have 32 bytes more
        requests = {node: secrets.token_bytes(size) for node in federation.nodes}
        replies = run.exchange(requests)
        assert replies == {node: hashlib.sha256(sent).digest() + sent for node, sent in requests.items()}


def test_strangers_cannot_fill_the_superlinks_memory(federation: Federation) -> None:
    process = federation.superlink._daemon._process
    assert process is not None

    def resident_mib() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) >> 10

    before, body = resident_mib(), bytes(PAYLOAD_LIMIT)
    headers = {"content-type": "application/protobuf"}
    context = ssl.create_default_context(cafile=str(federation.superlink.ca))

    def push(_: int) -> int:
        url = f"https://{federation.proxy}/v1/fleet/push-messages"
        return httpx.post(url, content=body, headers=headers, verify=context, trust_env=False).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(push, range(40))) == {401}
    assert resident_mib() < before + 20


def test_failures_are_typed_and_told_apart(federation: Federation, run: Coordinator) -> None:
    fails, slow, good, _ = federation.nodes
    unknown = 12345
    replies = run.exchange(
        {fails: b"fail", slow: b"slow", good: b"good", unknown: b"good"}, timeout_s=SLOW_S - 2
    )
    assert replies == {fails: "error", slow: "timed out", good: ANSWER, unknown: "offline"}
    assert "a secret" not in run.reasons[fails]


def test_bundle_with_code_is_refused_and_the_node_serves_on(federation: Federation, run: Coordinator) -> None:
    HANDLED.clear()
    with federation.superlink._client() as client:
        refused = client.StartRun(StartRunRequest(fab=Fab(content=bundle_with_code(federation.home)))).run_id
    wait_for(lambda: federation.superlink.run_status(refused).startswith("finished"), 40)
    codes = json.loads((federation.home / "codes.json").read_text())
    assert codes == [ErrorCode.INVALID_FAB] * NODES
    assert HANDLED == []
    assert not (federation.home / "executed").exists()
    assert run.exchange(dict.fromkeys(federation.nodes, b"good")) == dict.fromkeys(federation.nodes, ANSWER)
    assert run.finish() == "finished:completed"


def test_the_next_run_survives_restarts_of_node_and_superlink(federation: Federation) -> None:
    node_id, node = next(iter(federation.nodes.items()))
    process = node._daemon._process
    assert process is not None
    READY.clear()
    process.kill()
    wait_for(lambda: node._daemon._process is not process and node.alive, 20)
    federation.superlink.stop()
    federation.superlink.start()
    run = federation.launch()
    wait_for(lambda: run.online() == set(federation.nodes), 60)
    wait_for(lambda: node_id in READY, 20)  # the SuperLink may count it as online since before the kill
    assert run.exchange(dict.fromkeys(federation.nodes, b"good")) == dict.fromkeys(federation.nodes, ANSWER)
    assert run.finish() == "finished:completed"


def test_second_superlink_names_the_port_in_use(federation: Federation) -> None:
    port = int(federation.superlink.address.rpartition(":")[2])
    second = link(Home.create(federation.home / "second", CoordinatorSettings(superlink_port=port)))
    with pytest.raises(InputError, match=f"Port {port} .* choose another port"):
        second.start()
    assert not second.alive


def test_control_refuses_a_bad_key_and_an_unknown_setting(federation: Federation) -> None:
    with pytest.raises(InputError, match="public_key"):
        federation.superlink.register(b"ssh-ed25519 AAAA")
    with pytest.raises(InputError, match="run_config has the unknown key 'model'"):
        federation.superlink.launch({"model": "x"})


def test_node_is_expelled(federation: Federation) -> None:
    public = create_node_key(federation.home / "expelled.key")
    node = federation.superlink.register(public)
    federation.superlink.unregister(node)
    federation.superlink.unregister(node)  # again: nothing happens
    with pytest.raises(FederationError, match="unregistered before"):
        federation.superlink.register(public)


def test_a_node_that_is_refused_says_so_once(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    create_node_key(federation.home / "stranger.key")
    home = Home(federation.home / "coordinator")
    node = SuperNode(
        federation.home / "stranger",
        address=federation.proxy,
        ca=home.authority,
        key=federation.home / "stranger.key",
    )
    connection = Connection(node, lambda: pytest.fail("it is not ready"), lambda: None)
    node.start()
    try:
        connection.begin()
        wait_for(lambda: not node.alive, 20)
        assert not connection.ended()
        assert not connection.ended()
    finally:
        node.stop()
    (warning,) = [record.getMessage() for record in caplog.records if "not connected" in record.getMessage()]
    assert "Another SuperNode may use the key" in warning
    assert "EXPERIMENTAL" not in warning
    assert "\x1b" not in warning


def test_superlink_is_not_bound_to_the_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no login"):
        SuperLink(tmp_path, host="0.0.0.0", port=1, ca=tmp_path, certificate=tmp_path, key=tmp_path)  # noqa: S104


def test_control_client_without_superlink(tmp_path: Path) -> None:
    ca = Home.create(tmp_path / "home", CoordinatorSettings()).authority
    client = ControlClient(f"127.0.0.1:{free_port()}", ca)
    with pytest.raises(FederationError, match="does not answer"):
        client.run_status(1)


def bundle_with_code(home: Path) -> bytes:
    """A bundle whose `intertwine` package shadows the installed one and leaves a mark when imported."""
    manifest = zipfile.ZipFile(io.BytesIO(manifest_fab())).read("pyproject.toml").decode()
    files = {
        "pyproject.toml": manifest.replace("intertwine.server.flower_app:app", "coordinator:app"),
        "coordinator.py": CODE_COORDINATOR.replace("HOME", repr(str(home))),
        "intertwine/__init__.py": f"open({str(home / 'executed')!r}, 'w')",
        "intertwine/client/__init__.py": "",
        "intertwine/client/executor.py": "raise SystemExit('shadowed')",
    }
    lines = [
        f"{name},{hashlib.sha256(text.encode()).hexdigest()},{len(text) * 8}" for name, text in files.items()
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (files | {".info/CONTENT": "\n".join(lines)}).items():
            archive.writestr(name, text)
    return buffer.getvalue()
