"""The SuperLink: the process that participants' nodes connect to, and the client of its Control API.

One TLS port carries Flower's Fleet, Control and Runtime APIs. Only the Fleet API knows its callers (each
request is signed by a registered node key); whoever reaches the other two can register nodes, start runs
and take over the coordinator's part in a run. The port is therefore bound to loopback, and participants come
through `intertwine.server.fleet_proxy`, which passes `/v1/fleet/*` on and nothing else.
"""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import ApiErrorCode, FlowerError

from intertwine.protocols.addresses import is_loopback
from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.fab import RUN_KEYS, fab_sha256, manifest_fab
from intertwine.protocols.files import read_bounded
from intertwine.protocols.flower import Daemon, exempt_loopback
from intertwine.server.run_processes import RunProcesses

_CERTIFICATE_LIMIT = 1 << 20
_READY_POLL_S = 0.1
_START = "Start it with: intertwine coordinator up"


class ControlClient:
    """Registers nodes and starts, watches and stops runs on a SuperLink, from any process of this machine.

    address: "host:port". ca: PEM file of the authority that signed the SuperLink's certificate.
    Every method but `answers` raises FederationError if the SuperLink does not answer or refuses.
    """

    def __init__(self, address: str, ca: Path) -> None:
        self.address = address
        self.ca = ca

    def answers(self) -> bool:
        """Whether the SuperLink is there."""
        context = ssl.create_default_context(cafile=self.ca)
        try:
            health = httpx.get(f"https://{self.address}/health", verify=context, trust_env=False, timeout=5)
        except httpx.TransportError:
            return False
        return health.is_success

    def require_answer(self) -> None:
        """FederationError unless the SuperLink is there."""
        if not self.answers():
            raise FederationError(f"The SuperLink at {self.address} does not answer.", _START)

    def register(self, public_key: bytes) -> int:
        """Admit the node with this OpenSSH ECDSA P-384 public key; its node id, the same one each time."""
        pem = node_key_pem(public_key)
        with self._client() as client:
            try:
                return int(client.RegisterNode(RegisterNodeRequest(public_key=pem)).node_id)
            except httpx.HTTPStatusError as error:
                if _code(error) != ApiErrorCode.PUBLIC_KEY_ALREADY_IN_USE:
                    raise
            known = client.ListNodes(ListNodesRequest()).nodes_info
        for node in known:
            if node.public_key == pem and not node.unregistered_at:
                return int(node.node_id)
        raise FederationError("This node key was unregistered before.", "Enrol with a new key.")

    def unregister(self, node_id: int) -> None:
        """Expel a node: its requests are refused from now on. Its key cannot be registered again.

        Nothing happens if it was expelled before.
        """
        with self._client() as client:
            try:
                client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))
            except httpx.HTTPStatusError as error:
                if _code(error) != ApiErrorCode.NODE_NOT_FOUND:
                    raise

    def launch(self, run_config: Mapping[str, str | int | float | bool]) -> int:
        """Start a run of the manifest app; Flower's run id. Keys of `run_config` are those of `RUN_KEYS`."""
        if unknown := sorted(set(run_config) - set(RUN_KEYS)):
            raise InputError(f"run_config has the unknown key {unknown[0]!r}.", f"Use {', '.join(RUN_KEYS)}.")
        request = StartRunRequest(
            fab=Fab(hash_str=fab_sha256(), content=manifest_fab()),
            override_config=user_config_to_proto(dict(run_config)),
        )
        with self._client() as client:
            return int(client.StartRun(request).run_id)

    def run_status(self, run_id: int) -> str:
        """One of pending, starting, running, finished:completed, finished:failed, finished:stopped.

        finished:unknown if the SuperLink knows no such run.
        """
        with self._client() as client:
            try:
                status = client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status
            except httpx.HTTPStatusError as error:
                if _code(error) != ApiErrorCode.RUN_ID_NOT_FOUND:
                    raise
                return "finished:unknown"
        return f"{status.status}:{status.sub_status}" if status.sub_status else str(status.status)

    def stop_run(self, run_id: int) -> None:
        """Stop a run; nothing happens if it has finished, or is not known."""
        with self._client() as client:
            try:
                client.StopRun(StopRunRequest(run_id=run_id))
            except httpx.HTTPStatusError as error:
                if _code(error) not in (ApiErrorCode.RUN_ALREADY_FINISHED, ApiErrorCode.RUN_ID_NOT_FOUND):
                    raise

    @contextmanager
    def _client(self) -> Iterator[ControlHttpClient]:
        certificate = read_bounded(self.ca, _CERTIFICATE_LIMIT)
        exempt_loopback(os.environ)
        try:
            with ControlHttpClient.from_server_address(
                self.address, insecure=False, root_certificates=certificate, interceptors=[]
            ) as client:
                yield client
        except httpx.HTTPStatusError as error:
            refusal = FlowerError.from_json(error.response.text)
            reason = refusal.message if refusal else f"HTTP status {error.response.status_code}"
            raise FederationError(f"The SuperLink at {self.address} refused: {reason}") from error
        except httpx.TransportError as error:
            raise FederationError(
                f"The SuperLink at {self.address} does not answer: {error}.",
                _START,
            ) from error


class SuperLink(ControlClient):
    """One `flower-superlink` process, its Control API, and the processes of its runs.

    home: folder for its database (`state.db`), its log (`superlink.log`) and Flower's own files.
    host: a loopback address or name, in the certificate's subject alternative names.
    environment: added to the environment of the process.
    """

    def __init__(
        self,
        home: Path,
        *,
        host: str,
        port: int,
        ca: Path,
        certificate: Path,
        key: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        _require_loopback(host)
        super().__init__(f"{host}:{port}", ca.absolute())
        self._host, self._port = host, port
        self._runs = RunProcesses(self.address, self.ca, home.absolute(), environment)
        command = [
            "flower-superlink",
            *("--host", host, "--port", str(port)),
            *("--ssl-ca-certfile", str(ca.absolute())),
            *("--ssl-certfile", str(certificate.absolute()), "--ssl-keyfile", str(key.absolute())),
            *("--database", str(home.absolute() / "state.db")),
            *("--isolation", "process"),
            *("--superexec-auth-secret-file", str(self._runs.secret_file)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
        self._daemon = Daemon("superlink", command, home.absolute(), environment)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._daemon.alive

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the process and wait until it answers.

        InputError if the port is taken; FederationError if it dies or is silent for `timeout_s` seconds.
        """
        if self.alive:
            return
        self._require_free_port()
        self._runs.prepare()
        self._daemon.start()
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self.alive or time.monotonic() > deadline:
                tail = self._daemon.log_tail()
                self.stop()
                raise FederationError(f"The SuperLink did not start:\n{tail}", f"See {self._daemon.log}.")
            time.sleep(_READY_POLL_S)
        self._runs.start()

    def stop(self) -> None:
        """End the process and those of its runs; returns when all of it is gone, within some 12 s."""
        self._runs.stop()
        self._daemon.stop()

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, self._port))
            except OSError as error:
                raise InputError(
                    f"Port {self._port} on {self._host} cannot be used: {error.strerror}.",
                    "Stop the program that uses it, or choose another port in the coordinator's settings.",
                ) from error


def _require_loopback(host: str) -> None:
    if not is_loopback(host):
        raise InputError(
            f"host is {host!r}, which other machines may reach, and the Control API has no login.",
            "Use 127.0.0.1: participants come through the Fleet proxy.",
        )


def node_key_pem(public_key: bytes) -> bytes:
    """A node's OpenSSH public key in PEM, as Flower has it; InputError unless it is of ECDSA P-384."""
    try:
        key = load_ssh_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InputError(
            "public_key is not an OpenSSH ECDSA P-384 public key.", "Send the .pub file that enrolment made."
        )
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _code(error: httpx.HTTPStatusError) -> int:
    refusal = FlowerError.from_json(error.response.text)
    return refusal.code if refusal else 0
