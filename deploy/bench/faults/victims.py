"""The processes of a federation, and how one of each kind is found and killed."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.bench.memory import tree

_FIND_S = 60.0


@dataclass(frozen=True)
class Victim:
    """A kind of process. mark: what its command line holds, and that of no other of its tree.

    serviced: it is the process that a service manager starts, and starts again.
    """

    kind: str
    mark: str
    at_agent: bool = False
    serviced: bool = False


VICTIMS = (
    Victim("SuperLink", "flower-superlink"),
    Victim("control plane", "coordinator\0up", serviced=True),
    Victim("server app", "flwr-serverapp"),
    Victim("SuperNode", "intertwine.client._supernode", at_agent=True),
    Victim("agent", "agent\0run", at_agent=True, serviced=True),
)
_GUARD = "_guard.py"


def kill(victim: Victim, root: int) -> None:
    """SIGKILL the victim below process `root`, as soon as there is one; TimeoutError if there never is."""
    deadline = time.monotonic() + _FIND_S
    while True:
        for process in tree(root):
            command = _command(process)
            if victim.mark in command and _GUARD not in command:
                os.kill(process, signal.SIGKILL)
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {victim.kind} was found to be killed")
        time.sleep(0.05)


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""
