"""Real witnesses: processes on free ports of this machine."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from intertwine.protocols.note import VerifierKey
from intertwine.zk.audit.witness import WitnessHome

COMMAND = [sys.executable, "-c", "from intertwine.protocols.cli import main; main()", "audit", "witness"]


@dataclass
class RunningWitness:
    """A witness's home, where it answers, and its process."""

    home: WitnessHome
    url: str
    process: subprocess.Popen[str]

    def line(self, nickname: str) -> str:
        """Its line in a policy."""
        return f"witness {nickname} {self.home.verifier} {self.url}\n"


@contextmanager
def witness(folder: Path, name: str, *logs: VerifierKey, port: int = 0) -> Iterator[RunningWitness]:
    """A witness of these logs, started and ended as its operator would."""
    home = WitnessHome.create(folder, name)
    follows = [word for log in logs for word in ("--log", str(log))]
    arguments = ["serve", "--home", str(folder), *follows, "--port", str(port)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            url = re.fullmatch(r"Ready: (http://127\.0\.0\.1:\d+)\n", ready)
            assert url is not None, ready
            yield RunningWitness(home, url[1], process)
        finally:
            process.terminate()
            assert process.wait(10) == 0
