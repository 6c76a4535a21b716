"""A federation on this machine for benchmarks: a coordinator and agents of the forecast task, real processes.

The series are generated; what is measured does not depend on what they hold.
"""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from deploy.demo.processes import Daemons, capture, free_port, intertwine
from intertwine.client.home import Home as AgentHome
from intertwine.models.series import EPOCH
from intertwine.protocols.settings import write_settings

TASK = "forecast"
COORDINATOR = "coordinator"
WEEKS = 40
_FIRST_WEEK = 1250
_LIMIT = 1e6
"""The agents' limit: benchmarks release more often than a participant would."""


@dataclass
class LocalFederation:
    """participants: how many; series: how many each of them has."""

    root: Path
    daemons: Daemons
    participants: int
    series: int

    @property
    def coordinator(self) -> Path:
        """The coordinator's home."""
        return self.root / COORDINATOR

    @property
    def names(self) -> list[str]:
        """The participants' names."""
        return [f"agent-{number}" for number in range(1, self.participants + 1)]

    def agent(self, name: str) -> Path:
        """A participant's home."""
        return self.root / name

    def start(self) -> None:
        """Make keys, start the coordinator, enrol everyone, start the agents; returns when all are ready."""
        control_port = free_port()
        ports = {"--fleet-port": free_port(), "--superlink-port": free_port(), "--control-port": control_port}
        options = [part for option, port in ports.items() for part in (option, str(port))]
        capture(intertwine("coordinator", "init", "--home", str(self.coordinator), *options))
        self.start_coordinator()
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda name: self._enrol(name, control_port), self.names))
        for name in self.names:
            self.start_agent(name)
        for name in self.names:
            self.daemons.wait_for(name, "is ready")

    def start_coordinator(self) -> None:
        """Start the servers, the first time or again; returns when they are ready."""
        self.daemons.start(COORDINATOR, intertwine("coordinator", "up", "--home", str(self.coordinator)))
        self.daemons.wait_for(COORDINATOR, "Ready")

    def start_agent(self, name: str) -> None:
        """Start an agent, the first time or again."""
        self.daemons.start(name, intertwine("agent", "run", "--home", str(self.agent(name))))

    def launch(self, run: str, plan: Path, *, wait: bool) -> None:
        """Launch a run of the forecast task."""
        how = "--wait" if wait else "--no-wait"
        home = str(self.coordinator)
        arguments = (TASK, "--run", run, "--plan", str(plan), how, "--home", home)
        capture(intertwine("coordinator", "launch", *arguments))

    def _enrol(self, name: str, control_port: int) -> None:
        home = str(self.coordinator)
        invitation = ("invite", name, "--role", "retailer", "--task", TASK, "--home", home)
        token = capture(intertwine("coordinator", *invitation))
        data = self.root / f"{name}.csv"
        _write_series(data, self.series, seed=self.names.index(name))
        address = ("--coordinator", f"https://127.0.0.1:{control_port}", "--token", token)
        own = ("--data", f"{TASK}={data}", "--home", str(self.agent(name)))
        capture(intertwine("agent", "enroll", *address, *own))
        settings = AgentHome.open(self.agent(name)).settings
        tasks = {TASK: settings.tasks[TASK].model_copy(update={"max_epsilon": _LIMIT})}
        write_settings(
            AgentHome(self.agent(name)).settings_file, settings.model_copy(update={"tasks": tasks})
        )


def _write_series(path: Path, series: int, seed: int) -> None:
    units = np.random.default_rng(seed).poisson(20.0, size=(series, WEEKS))
    mondays = [EPOCH + timedelta(weeks=_FIRST_WEEK + week) for week in range(WEEKS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sku", "week", "units"))
        for number, row in enumerate(units):
            writer.writerows(
                (f"sku-{number}", day.isoformat(), count) for day, count in zip(mondays, row, strict=True)
            )
