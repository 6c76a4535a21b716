"""Starting commands and daemons, and ending every one of them whatever happens."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from intertwine.protocols import _guard
from intertwine.protocols.errors import FederationError

_GRACE_S = 15.0
_INTERTWINE = str(Path(sysconfig.get_path("scripts")) / "intertwine")


def intertwine(*arguments: str) -> list[str]:
    """The command line of an `intertwine` command."""
    return [_INTERTWINE, *arguments]


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a Python module of the demo."""
    return [sys.executable, "-m", name, *arguments]


def capture(command: Sequence[str]) -> str:
    """Run a command to its end and return what it printed; FederationError with its error if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)  # noqa: S603
    if result.returncode != 0:
        message = result.stderr.strip() or result.stdout.strip()
        raise FederationError(f"`{_name(command)}` failed: {message}")
    return result.stdout.strip()


def show(command: Sequence[str], expected: Sequence[int] = (0,)) -> None:
    """Run a command to its end with its output on this screen; FederationError for another exit code."""
    result = subprocess.run(command, env=_environment(), check=False)  # noqa: S603
    if result.returncode not in expected:
        raise FederationError(f"`{_name(command)}` failed with exit code {result.returncode}.")


class Daemons:
    """Long-running processes, each under a guard that ends it, and all it started, when this process ends."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._guards: dict[str, subprocess.Popen[bytes]] = {}

    @contextlib.contextmanager
    def guard(self) -> Iterator["Daemons"]:
        """End every process at the end of the block, on failure and on Ctrl-C or SIGTERM too."""
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._end_all()
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGTERM, previous)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process; its output goes to NAME.log."""
        with self.log(name).open("wb") as log:
            self._guards[name] = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", _guard.__file__, str(_GRACE_S), *command],
                stdin=subprocess.PIPE,  # its end tells the guard to end the process, however we end
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches only the demo, which then ends everything in order
            )

    def finish(self, commands: Mapping[str, Sequence[str]], at_once: int = 2) -> Iterator[tuple[str, float]]:
        """Run commands to their ends, a few at a time; yields each one's name and seconds when it is done.

        FederationError with the end of its output if one fails, or if a daemon that they may need ends.
        """
        daemons = [name for name in self._guards if name not in commands]
        waiting, started = list(commands.items()), dict[str, float]()
        while waiting or started:
            while waiting and len(started) < at_once:
                name, command = waiting.pop(0)
                started[name] = time.monotonic()
                self.start(name, command)
            time.sleep(0.1)
            for name in filter(self.has_ended, [*daemons, *started]):
                if name in daemons or self._guards[name].returncode != 0:
                    raise FederationError(f"{name} ended: {self._tail(name)}")
                yield name, time.monotonic() - started.pop(name)

    def log(self, name: str) -> Path:
        """Where a process's output goes."""
        return self._logs / f"{name}.log"

    def wait_for(self, name: str, text: str, timeout_s: float = 180.0) -> None:
        """Wait until a process has printed `text`; FederationError if it ends first or takes too long."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log(name).read_text(errors="replace"):
            ended = self.has_ended(name)
            if ended or time.monotonic() > deadline:
                raise FederationError(f"{name} {'ended' if ended else 'was not ready'}: {self._tail(name)}")
            time.sleep(0.2)

    def has_ended(self, name: str) -> bool:
        """Whether a process has ended, by itself or by somebody's hand."""
        return self._guards[name].poll() is not None

    def guard_of(self, name: str) -> int:
        """The number of the process that guards it, and is the ancestor of all it started."""
        return self._guards[name].pid

    def _tail(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")[-800:]

    def _end_all(self) -> None:
        for guard in self._guards.values():
            if guard.stdin is not None:
                guard.stdin.close()
        for guard in self._guards.values():
            guard.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _name(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:3]])


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _environment() -> dict[str, str]:
    """One thread for each process: the machine has few cores and the federation has many processes."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1,localhost", "COLUMNS": "110"}
