"""Stock Flower on this machine: SuperLink, SuperNodes and apps as they come, over TLS, with node keys.

A stock node starts a process for every message. Who starts it depends on the isolation: in `subprocess`, the
default, the SuperNode's own `flower-superexec`, in `process` one that was started beside it, and which looks
for work five times a second instead of once. More often is slower: looking costs everybody's processor time.
"""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TypeAlias

from flwr.cli.build import build_fab_from_disk
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control import ControlHttpClient

from deploy.demo.processes import free_port
from intertwine.client.supernode import create_node_key
from intertwine.protocols.errors import FederationError
from intertwine.protocols.files import write_private
from intertwine.protocols.flower import Daemon
from intertwine.server.home import LOOPBACK_ADDRESS, CoordinatorSettings, Home
from intertwine.server.up import superlink_of

Isolation: TypeAlias = Literal["subprocess", "process"]
Strategy: TypeAlias = Literal["messages", "fedavg"]

_APP = Path(__file__).with_name("stock_app")
_POLL = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2"}
_LOOK_S = 0.2
_PATIENCE_S = 900.0


class StockFederation:
    """A SuperLink and its SuperNodes; a context manager that ends them all."""

    def __init__(self, root: Path, nodes: int, isolation: Isolation, dimension: int) -> None:
        """dimension: d, the length of the vectors, in 64-bit floats."""
        self._root, self._nodes, self._isolation, self._dimension = root, nodes, isolation, dimension
        self._daemons: list[Daemon] = []
        self._started = ExitStack()

    def __enter__(self) -> "StockFederation":
        home = Home.create(self._root / "coordinator", CoordinatorSettings(superlink_port=free_port()))
        self._superlink = superlink_of(home)
        with ExitStack() as stack:
            stack.callback(self._superlink.stop)
            self._superlink.start()
            stack.callback(self._stop_nodes)
            for number in range(self._nodes):
                self._start_node(self._root / f"node-{number}")
            self._started = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def seconds_per_round(self, strategy: Strategy, rounds: int, exchanges: int = 1) -> float:
        """Wall time of a round, once all nodes are there. exchanges: of `messages`, in each round."""
        output = self._root / f"{strategy}.json"
        config = {
            "strategy": strategy,
            "nodes": self._nodes,
            "rounds": rounds,
            "exchanges": exchanges,
            "dimension": self._dimension,
            "output": str(output),
        }
        self._finish(self._launch(config))
        return float(json.loads(output.read_text())["seconds"]) / rounds

    def _start_node(self, home: Path) -> None:
        key, secret, port = home.with_suffix(".key"), home.with_suffix(".secret"), str(free_port())
        self._superlink.register(create_node_key(key))
        command = [
            *("flower-supernode", "--superlink", self._superlink.address),
            *("--root-certificates", str(self._superlink.ca)),
            *("--auth-supernode-private-key", str(key.absolute())),
            *("--host", LOOPBACK_ADDRESS, "--port", port, "--isolation", self._isolation),
        ]
        if self._isolation == "process":
            write_private(secret, secrets.token_bytes(32))
            shared = ("--superexec-auth-secret-file", str(secret.absolute()))
            address = f"{LOOPBACK_ADDRESS}:{port}"
            executor = ["flower-superexec", "--insecure", "--runtime-api-address", address, *shared]
            self._start(Daemon("superexec", executor, home, _POLL))
            command += shared
        self._start(Daemon("supernode", command, home))

    def _start(self, daemon: Daemon) -> None:
        self._daemons.append(daemon)
        daemon.start()

    def _stop_nodes(self) -> None:
        """Side by side: each takes a second or more."""
        with ThreadPoolExecutor(max_workers=max(1, len(self._daemons))) as pool:
            list(pool.map(Daemon.stop, self._daemons))

    def _launch(self, config: dict[str, str | int]) -> int:
        request = StartRunRequest(
            fab=Fab(content=build_fab_from_disk(_APP)), override_config=user_config_to_proto(dict(config))
        )
        with ControlHttpClient.from_server_address(
            self._superlink.address,
            insecure=False,
            root_certificates=self._superlink.ca.read_bytes(),
            interceptors=[],
        ) as client:
            return int(client.StartRun(request).run_id)

    def _finish(self, run: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not (status := self._superlink.run_status(run)).startswith("finished"):
            if time.monotonic() > deadline:
                raise FederationError("Stock Flower takes too long.")
            time.sleep(_LOOK_S)
        if status != "finished:completed":
            raise FederationError(f"Stock Flower's run ended as {status}.")
