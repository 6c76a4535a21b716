"""Killing a federation's processes while it works, and what it did about it.

After each kill comes the next one only when the run has gone on, so that every kill meets a federation at
work. What a service manager would do is done here: a control plane or an agent that ended is started again.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from deploy.bench.faults.victims import VICTIMS, Victim, kill
from deploy.bench.local_federation import COORDINATOR, TASK, LocalFederation
from intertwine.client.home import Home as AgentHome
from intertwine.client.ledger import Ledger, SlotRow
from intertwine.protocols.entries import Entry, Outcome, Publication, ReleaseEntry
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Release, Signed
from intertwine.server.home import Home
from intertwine.server.store import Run, Store
from intertwine.server.up import control_client

ROUNDS = 3
PLAN = f"rounds = {ROUNDS}\nquorum = 1\ndeadline_s = 120\naverage_last = 1\n"
SPAN_S = 6.0
"""Kills come at moments uniform within this time: about what an undisturbed round takes."""
RECOVERY_S = 300.0
_LOOK_S = 0.25


@dataclass(frozen=True)
class Kill:
    """One kill. moment_s: after the federation was at work again; recovery_s: until the run went on."""

    kind: str
    run: str
    moment_s: float
    recovery_s: float


@dataclass
class Faults:
    """A federation that is disturbed. show: told of every kill."""

    federation: LocalFederation
    generator: random.Random
    show: Callable[[Kill], None]
    kills: list[Kill] = field(default_factory=list)
    _runs: int = 0

    def __post_init__(self) -> None:
        home = Home.open(self.federation.coordinator)
        self._store, self._control = Store(home, home.signing_key), control_client(home)
        self._plan = self.federation.root / "plan.toml"
        self._plan.write_text(PLAN)

    def disturb(self, times: int) -> None:
        """Kill each kind of process so many times, in random order, and let the last run end."""
        order = [victim for victim in VICTIMS for _ in range(times)]
        self.generator.shuffle(order)
        for victim in order:
            self._kill_one(victim)
        while not self._run().ended:
            time.sleep(_LOOK_S)

    def _kill_one(self, victim: Victim) -> None:
        self._at_work()
        moment = self.generator.uniform(0, SPAN_S)
        time.sleep(moment)
        run = self._at_work()
        name = self.generator.choice(self.federation.names) if victim.at_agent else COORDINATOR
        before = self._length(run)
        kill(victim, self.federation.daemons.guard_of(name))
        killed = time.monotonic()
        if victim.serviced:
            self._serve(name)
        while self._length(run) == before and not self._run().ended:
            if time.monotonic() > killed + RECOVERY_S:
                raise FederationError(f"Run {run} has not gone on {RECOVERY_S:g} s after a kill.")
            time.sleep(_LOOK_S)
        self._all_there()
        self.kills.append(Kill(victim.kind, run, moment, time.monotonic() - killed))
        self.show(self.kills[-1])

    def _at_work(self) -> str:
        """The run that goes on; a new one if the last has ended."""
        if not self._runs or self._run().ended:
            self._wait_for_servers()
            self._runs += 1
            self.federation.launch(self._name(), self._plan, wait=False)
        return self._name()

    def _wait_for_servers(self) -> None:
        """Wait until the SuperLink answers: it may have been the last to be killed."""
        deadline = time.monotonic() + RECOVERY_S
        while not self._control.answers():
            if time.monotonic() > deadline:
                raise FederationError(f"The SuperLink was not back {RECOVERY_S:g} s after a kill.")
            time.sleep(_LOOK_S)

    def _serve(self, name: str) -> None:
        """Start a control plane or an agent again once all of it has ended, as a service manager does."""
        while not self.federation.daemons.has_ended(name):
            time.sleep(_LOOK_S)
        if name == COORDINATOR:
            self.federation.start_coordinator()
        else:
            self.federation.start_agent(name)

    def _all_there(self) -> None:
        """Wait until everyone who was killed is connected again: the next kill shall not find them away."""
        deadline = time.monotonic() + RECOVERY_S
        while not all(self._answers(name) for name in self.federation.names):
            if self._run().ended or time.monotonic() > deadline:
                return
            time.sleep(_LOOK_S)

    def _answers(self, name: str) -> bool:
        """Whether a participant has committed in the run's latest round."""
        entries = [entry for _, entry in self._store.run_entries(self._name())]
        latest = max((entry.round.number for entry in entries if entry.type == "round"), default=0)
        return any(
            entry.type == "commit"
            and entry.commit.body.slot.participant == name
            and entry.commit.body.slot.round.number == latest
            for entry in entries
        )

    def _run(self) -> Run:
        return self._store.run(self._name())

    def _name(self) -> str:
        return f"run-{self._runs}"

    def _length(self, run: str) -> int:
        return len(self._store.run_entries(run))


def findings(federation: LocalFederation) -> dict[str, int]:
    """What the log and the ledgers say afterwards: everything but `runs_completed` must be 0.

    budget_mismatches: slots whose release in the log is not, byte for byte, the one in their participant's
    ledger, and released slots of a ledger whose release the log neither has nor has given up for lost.
    """
    home = Home.open(federation.coordinator)
    store = Store(home, home.signing_key)
    runs = store.runs()
    completed = [run for run in runs if run.state == "finished"]
    published = Counter(
        run.name for run in runs for _, entry in store.run_entries(run.name) if isinstance(entry, Publication)
    )
    return {
        "runs_completed": len(completed),
        "runs_failed": len(runs) - len(completed),
        "lost_rounds": sum(Plan.decode(run.plan).rounds - run.finished_rounds for run in runs),
        "double_published": sum(count - 1 for count in published.values()),
        "budget_mismatches": sum(_mismatches(store, federation, name) for name in federation.names),
    }


def _mismatches(store: Store, federation: LocalFederation, name: str) -> int:
    entries = [entry for run in store.runs() for _, entry in store.run_entries(run.name)]
    with closing(Ledger(AgentHome(federation.agent(name)).ledger)) as ledger:
        return len(mismatches(name, entries, ledger.released(TASK)))


def mismatches(name: str, entries: Sequence[Entry], released: Sequence[SlotRow]) -> set[str]:
    """The slots of a participant of which the log and its ledger do not say the same."""
    logged = Counter(
        (entry.release.body.slot.identifier().hex(), entry.release.digest())
        for entry in entries
        if isinstance(entry, ReleaseEntry) and entry.release.body.slot.participant == name
    )
    lost = {
        entry.slot.identifier().hex()
        for entry in entries
        if isinstance(entry, Outcome) and entry.verdict == "aborted"
    }
    known = Counter((row.slot, _digest(row)) for row in released)
    unknown = {slot for slot, _ in logged - known}
    return unknown | {slot for slot, _ in known - logged if slot not in lost}


def _digest(row: SlotRow) -> str:
    """Of the signed release: what was sent, or what the log had if the ledger learned of it there."""
    if row.origin == "log":
        return Signed[Release].decode(row.release).digest()
    envelope = Envelope.from_bytes(row.release, (len(row.release),) * 2)
    return Signed[Release].decode(envelope.document).digest()
