"""A measurement in a process of its own, which says on standard output how far it is: one JSON object a line.

A message is progress, {"doing", "done"} with done from 0 to 1, or at the end the figures, {"row"}. Standard
library only: the process that starts the measurements must stay small, because on Linux a process's peak
memory (ru_maxrss) is at least what its parent had when it started it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from deploy.bench.cases import Row

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measured(
    module: str,
    arguments: Sequence[str],
    show: Callable[[Row], None],
    started: Callable[[int], None] = lambda process: None,
) -> Row:
    """The figures of `python -m module`; CalledProcessError if it fails.

    show: called with every message; started: with the process's number, once it runs.
    """
    command = [sys.executable, "-m", module, *arguments]
    row: Row | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD) as process:  # noqa: S603
        started(process.pid)
        for line in process.stdout or ():
            message = json.loads(line)
            row = message.get("row", row)
            show(message)
    if process.returncode or row is None:
        raise subprocess.CalledProcessError(process.returncode, command)
    return row


def say(message: Row) -> None:
    """Send a message from a measuring process."""
    print(json.dumps(message), flush=True)
