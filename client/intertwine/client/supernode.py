"""The SuperNode: the process that connects a participant to the coordinator's SuperLink.

It fetches requests and returns replies, and runs nothing: with `--isolation process` it hands each request
to whoever holds its executor secret, which is `intertwine.client.executor` in this process alone.
"""

import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from intertwine.protocols.files import make_private_directory, write_private
from intertwine.protocols.flower import Daemon

_LOOPBACK = "127.0.0.1"


def create_node_key(path: Path) -> bytes:
    """Make a node's ECDSA P-384 key: the private part in `path` (mode 0600), the OpenSSH public key returned.

    The coordinator registers the public key (`ControlClient.register`).
    """
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


class SuperNode:
    """One `flower-supernode` process, started by `_supernode`.

    home: folder for its log (`supernode.log`), its executor secret and Flower's own files.
    address: the SuperLink's "host:port". ca: PEM file of the authority behind its certificate.
    key: OpenSSH private key file of this node, registered with the coordinator.
    clientappio_port: loopback port on which the executor meets the SuperNode; 0 picks a free one.
    environment: added to the environment of the process.
    """

    def __init__(
        self,
        home: Path,
        *,
        address: str,
        ca: Path,
        key: Path,
        clientappio_port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home.absolute()
        self._environment = environment
        self._secret_file = self._home / "executor.secret"
        self._command = [
            *(sys.executable, "-I", "-m", "intertwine.client._supernode"),
            *("--superlink", address, "--root-certificates", str(ca.absolute())),
            *("--auth-supernode-private-key", str(key.absolute())),
            *("--isolation", "process", "--superexec-auth-secret-file", str(self._secret_file)),
        ]
        self._clientappio_port = clientappio_port
        self._configure()

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may still be waiting for the SuperLink."""
        return self._daemon.alive

    def start(self) -> None:
        """Start the process without waiting for it; it tries to reach the SuperLink until it does.

        It ends by itself if the SuperLink does not know its key; `log_tail` says so then.
        """
        if self.alive:
            return
        self._configure()
        make_private_directory(self._home)
        write_private(self._secret_file, self.secret)
        self._daemon.start()

    def stop(self) -> None:
        """End the process; returns when it is gone, within some 6 s."""
        self._daemon.stop()

    def new_lines(self) -> list[str]:
        """What it has logged since this was asked last, or since it was started."""
        return self._daemon.new_lines()

    def log_tail(self) -> str:
        """The last lines of its log."""
        return self._daemon.log_tail()

    def _configure(self) -> None:
        """A port and an executor secret for the next life of the process."""
        port = self._clientappio_port or _free_port()
        self.runtime_address = f"{_LOOPBACK}:{port}"
        self.secret = secrets.token_bytes(32)
        where = ("--host", _LOOPBACK, "--port", str(port))
        self._daemon = Daemon("supernode", [*self._command, *where], self._home, self._environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
