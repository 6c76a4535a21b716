"""Starts the process of each run, in which Flower loads our ServerApp.

It takes the place of `flower-superexec`, which would be one more process of 90 MB, and of which the SuperLink
asks no secret. It speaks the Runtime API of flwr 1.41 through Flower's internal client.
"""

import logging
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from intertwine.protocols.files import write_private
from intertwine.protocols.flower import Daemon, exempt_loopback

_POLL_S = 0.5
_JOIN_S = 10.0
_log = logging.getLogger(__name__)


class RunProcesses:
    """A thread that asks a SuperLink for runs to start, and the processes that it started.

    address: the SuperLink's "host:port". ca: PEM file of the authority behind its certificate. home: folder
    for the secret and the processes' log (`serverapp.log`). environment: added to the processes' own.
    """

    def __init__(self, address: str, ca: Path, home: Path, environment: Mapping[str, str] | None) -> None:
        self._address, self._ca, self._home, self._environment = address, ca, home, environment
        self._secret = b""
        self._processes: dict[Path, Daemon] = {}  # by the file with its token
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def secret_file(self) -> Path:
        """Where the SuperLink reads who may start runs."""
        return self._home / "executor.secret"

    def prepare(self) -> None:
        """End what an earlier SuperLink's runs have left, and write the secret for the next one."""
        self.stop()
        self._secret = secrets.token_bytes(32)
        write_private(self.secret_file, self._secret)

    def start(self) -> None:
        """Begin to ask; the SuperLink must be there and know the secret."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="run-processes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and every process."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None
        for token_file in list(self._processes):
            self._end(token_file)

    def _run(self) -> None:
        exempt_loopback(os.environ)
        known = SuperExecAuthHttpInterceptor(
            master_secret=self._secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
        )
        with RuntimeHttpClient.from_server_address(
            self._address, insecure=False, root_certificates=self._ca.read_bytes(), interceptors=[known]
        ) as client:
            while not self._ending.wait(_POLL_S):
                try:
                    self._look(client)
                except httpx.HTTPError as error:
                    _log.debug("the SuperLink gives no run: %s", error)
                except Exception:
                    _log.exception("a run's process was not started")

    def _look(self, client: RuntimeHttpClient) -> None:
        for token_file in [file for file, process in self._processes.items() if not process.alive]:
            self._end(token_file)
        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        if answer.token:
            self._start_process(str(answer.token))

    def _start_process(self, token: str) -> None:
        token_file = self._home / f"run-{secrets.token_hex(8)}.token"
        write_private(token_file, token.encode())
        command = [
            *("flwr-serverapp", "--runtime-api-address", self._address),
            *("--root-certificates", str(self._ca), "--token-file", str(token_file)),
        ]
        self._processes[token_file] = Daemon("serverapp", command, self._home, self._environment)
        self._processes[token_file].start()

    def _end(self, token_file: Path) -> None:
        self._processes.pop(token_file).stop()
        token_file.unlink(missing_ok=True)
