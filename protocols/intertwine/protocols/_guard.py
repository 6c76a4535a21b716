"""Runs one command and ends with it, or ends it: the script behind `intertwine.protocols.flower.Daemon`.

    python -I -S _guard.py GRACE_S COMMAND...

The guard watches its standard input, a pipe whose other end only the parent holds. When that end closes,
be it by `Daemon.stop` or because the parent was killed, the guard sends SIGTERM to the command and to
everything that the command started, waits GRACE_S seconds and sends SIGKILL to what is left. As a child
subreaper (Linux, prctl(2)) it also inherits those that moved to a session of their own.
Standard library only: it starts in some 20 ms, and no part of the package can break it.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(grace_s: float, command: list[str]) -> int:
    """Guard `command`; its exit status, or 0 if it was ended from outside."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    try:
        child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            # Should the guard itself be killed, the command must not stay behind.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0),  # noqa: PLW1509
        )
        select.select([sys.stdin.fileno(), os.pidfd_open(child.pid)], [], [])
        return child.poll() or 0
    except SystemExit:
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all(grace_s)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _end_all(grace_s: float) -> None:
    _send(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _descendants() and time.monotonic() < deadline:
        time.sleep(0.05)
    while _descendants():
        _send(signal.SIGKILL)
        time.sleep(0.05)


def _send(number: signal.Signals) -> None:
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants() -> set[int]:
    """Living processes below this one, after reaping the dead."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents = _parents()
    found: set[int] = set()
    reached = {os.getpid()}
    while reached:
        reached = {pid for pid, parent in parents.items() if parent in reached}
        found |= reached
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state ppid ...": the name may hold spaces and parentheses.
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
