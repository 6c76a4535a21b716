"""The demo's federation: four participants, three tasks, one cheater, all through the real commands."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo.processes import Daemons, capture, free_port, intertwine, module, show
from intertwine.client.home import Home
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask


@dataclass(frozen=True)
class Member:
    """One participant of the demo."""

    name: str
    role: str
    dishonest: bool = False


MEMBERS = (
    Member("harbour-retail", "retailer"),
    Member("studio-lumen", "creator", dishonest=True),
    Member("corner-supply", "smb"),
    Member("redoubt-security", "security"),
)
# Each task gets a run of its own name; the drill is the extra round in which the creator cheats.
TASKS = ("forecast", "recommendation", "risk")
DRILL, DRILL_TASK = "recommendation-drill", "recommendation"


class Federation:
    """A coordinator and its agents, each a process with a home folder of its own under `root`."""

    def __init__(self, root: Path, data: Mapping[str, Mapping[str, Path]], daemons: Daemons) -> None:
        self._root = root
        self._data = data
        self._daemons = daemons
        self._console = Console()

    def coordinator(self) -> Path:
        """The coordinator's home folder."""
        return self._root / "coordinator"

    def agent(self, member: Member) -> Path:
        """An agent's home folder."""
        return self._root / "agents" / member.name

    def start(self) -> None:
        """Start the coordinator, enrol everyone through the real path, and start the agents."""
        home = str(self.coordinator())
        self._control_port = free_port()
        ports = (
            *("--fleet-port", str(free_port()), "--superlink-port", str(free_port())),
            *("--control-port", str(self._control_port)),
        )
        self._say("Coordinator", "making keys and certificates, starting SuperLink and control plane")
        capture(intertwine("coordinator", "init", "--home", home, *ports))
        self._daemons.start("coordinator", intertwine("coordinator", "up", "--home", home))
        self._daemons.wait_for("coordinator", "Ready")
        self._say("Enrolment", "one invitation token for each participant; keys are made on its own side")
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(self._enrol, MEMBERS))
        for member in MEMBERS:
            self._daemons.start(member.name, self._agent_command(member))
        for member in MEMBERS:
            self._daemons.wait_for(member.name, "is ready")
            self._say(member.name, f"{member.role}, joined {', '.join(self._data[member.name])}")

    def enrol_records(self) -> list[dict[str, Any]]:
        """Let every participant commit to the records that it will train on; how long each one took, in s.

        Two at a time: the times are those of a machine whose cores are all busy.
        """
        pairs = {
            f"{member.name}-{task}-records": (member, task)
            for task in TASKS
            if isinstance(find_task(task), DataBoundTask)
            for member in MEMBERS
            if task in self._data[member.name]
        }
        commands = {
            name: intertwine("agent", "dataset", "commit", task, "--home", str(self.agent(member)))
            for name, (member, task) in pairs.items()
        }
        self._say("Records", "everyone commits to its own and proves their form, before any run uses them")
        columns = (TextColumn("records enrolled"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        took = []
        with Progress(*columns, console=self._console) as bars:
            for name, seconds in bars.track(self._daemons.finish(commands), len(commands)):
                member, task = pairs[name]
                last = self._daemons.log(name).read_text().splitlines()[-1]
                bars.console.print(f"[bold]{member.name}[/]: {last}", highlight=False)
                took.append({"participant": member.name, "task": task, "seconds": round(seconds, 1)})
        return took

    def train(self) -> None:
        """Launch every run and follow it to its end."""
        for task in TASKS:
            self._launch(task, task)

    def drill(self) -> None:
        """One more round, in which the creator's agent is dishonest."""
        self._say("Extra round", "the creator's agent claims sales that its records do not hold")
        self._launch(DRILL, DRILL_TASK)
        show(intertwine("coordinator", "status", "--home", str(self.coordinator())))

    def predictions(self) -> list[dict[str, Any]]:
        """Every participant's predictions with every model it takes part in."""
        wanted = [(member, task) for member in MEMBERS for task in self._data[member.name]]
        with ThreadPoolExecutor(max_workers=2) as pool:
            found = list(pool.map(lambda pair: self._predict(*pair), wanted))
        for prediction in found:
            self._say(prediction["participant"], f"{prediction['task']}: {prediction['lines'][0]}")
        return found

    def budgets(self) -> dict[str, list[dict[str, Any]]]:
        """Every agent's own record of its releases, by participant."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            printed = pool.map(
                lambda member: capture(
                    intertwine("agent", "budget", "--json", "--home", str(self.agent(member)))
                ),
                MEMBERS,
            )
            return {
                member.name: json.loads(text)["releases"]
                for member, text in zip(MEMBERS, printed, strict=True)
            }

    def log_key(self) -> str:
        """The key of the coordinator's log, as a participant pinned it at enrolment."""
        return Home.open(self.agent(MEMBERS[0])).settings.deployment

    def export(self, bundle: Path) -> None:
        """Write the auditors' bundle."""
        show(intertwine("coordinator", "export", "--output", str(bundle), "--home", str(self.coordinator())))

    def stop(self) -> None:
        """Stop the coordinator and everything that it started."""
        capture(intertwine("coordinator", "stop", "--home", str(self.coordinator())))

    def _launch(self, run: str, task: str) -> None:
        home = str(self.coordinator())
        show(intertwine("coordinator", "launch", task, "--run", run, "--home", home))

    def _enrol(self, member: Member) -> None:
        tasks = self._data[member.name]
        options = [part for task in tasks for part in ("--task", task)]
        home = str(self.coordinator())
        token = capture(
            intertwine("coordinator", "invite", member.name, "--role", member.role, *options, "--home", home)
        )
        files = [part for task, path in tasks.items() for part in ("--data", f"{task}={path}")]
        url = f"https://127.0.0.1:{self._control_port}"
        target = str(self.agent(member))
        capture(
            intertwine("agent", "enroll", "--coordinator", url, "--token", token, *files, "--home", target)
        )

    def _agent_command(self, member: Member) -> list[str]:
        home = str(self.agent(member))
        if member.dishonest:
            return module("deploy.demo.dishonest", "--home", home, "--run", DRILL)
        return intertwine("agent", "run", "--home", home)

    def _predict(self, member: Member, task: str) -> dict[str, Any]:
        home = str(self.agent(member))
        printed = json.loads(capture(intertwine("agent", "predict", task, "--json", "--home", home)))
        return {
            "participant": member.name,
            "task": task,
            "sha256": printed["onnx_sha256"],
            "lines": printed["lines"],
        }

    def _say(self, who: str, what: str) -> None:
        self._console.print(f"[bold]{who}[/]: {what}", highlight=False)
