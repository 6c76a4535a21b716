"""How Flower's own programs are started: guarded, silent towards the outside, with all state in one folder.

Shared by the SuperLink (coordinator) and the SuperNode (agent). Flower itself is not imported here.
"""

import contextlib
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from intertwine.protocols import _guard
from intertwine.protocols.errors import missing_package
from intertwine.protocols.files import append_private, make_private_directory

_GRACE_S = 5.0
_LOG_LIMIT = 16 * 1024 * 1024
_TAIL_BYTES = 8192
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MERE = re.compile(r"INFO|EXPERIMENTAL|Connection attempt failed|^\s*$")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "2",  # glibc would set memory aside for every thread of a server that has many
}


class Daemon:
    """One Flower program in a process of its own, which ends when `stop` is called or this process dies.

    name: what messages call it, and the stem of its log file in `home`.
    command: the program's console script and its arguments.
    """

    def __init__(
        self, name: str, command: Sequence[str], home: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = [str(_scripts() / command[0]), *command[1:]]
        self._home = home
        self._environment = flower_environment(home, environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._read = 0  # positions in the log
        self.log = home / f"{name}.log"

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program; nothing happens if it runs already."""
        if self.alive:
            return
        self.stop()
        make_private_directory(self._home)
        log = append_private(self.log, _LOG_LIMIT)
        self._began = self._read = os.fstat(log).st_size
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", _guard.__file__, str(_GRACE_S), *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us; the guard then ends its program in good order
            )
        finally:
            os.close(log)

    def stop(self) -> None:
        """End the program and everything it started; returns when all of it is gone, within some 6 s."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._process = None

    def new_lines(self) -> list[str]:
        """The lines that it has logged since this was asked last, or since it was started."""
        data = self._logged(self._read)
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return _plain(whole)

    def log_tail(self, lines: int = 5) -> str:
        """The last lines since it was started that are no mere information, to say why it died."""
        size = self.log.stat().st_size if self.log.exists() else 0
        tail = _plain(self._logged(max(self._began, size - _TAIL_BYTES)))
        return "\n".join([line for line in tail if not _MERE.search(line)][-lines:])

    def _logged(self, start: int) -> bytes:
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(start)
            return file.read()
        return b""


def _plain(text: bytes) -> list[str]:
    """The lines of a log without their colours."""
    return _COLOUR.sub("", text.decode(errors="replace")).splitlines()


def flower_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with Flower's state in `home`, no telemetry, and no proxy to loopback."""
    environment = {**os.environ, **_SETTINGS, "FLWR_HOME": str(home / "flower")}
    environment["PATH"] = f"{_scripts()}{os.pathsep}{environment.get('PATH', os.defpath)}"
    exempt_loopback(environment)
    return {**environment, **extra}


def exempt_loopback(environment: dict[str, str] | os._Environ[str]) -> None:
    """Keep an HTTP proxy in `environment` from being asked for this machine's own services."""
    known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in known.split(",") if host.strip()]
    hosts += [host for host in _LOOPBACK if host not in hosts]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)


def _scripts() -> Path:
    folder = Path(sysconfig.get_path("scripts"))
    if not (folder / "flower-superlink").exists():
        raise missing_package("Flower is not installed.", "service")
    return folder
