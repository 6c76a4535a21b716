"""Our federation's rounds on this machine: how long they take, what they prove, what memory they need."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from deploy.bench.local_federation import COORDINATOR, TASK, LocalFederation
from deploy.bench.memory import PeakMemory, tree
from deploy.bench.round.phases import Seen, mean_phases, rounds
from deploy.demo.processes import Daemons
from intertwine.client.home import Home as AgentHome
from intertwine.client.ledger import Ledger, SlotRow
from intertwine.protocols.entries import ModelEntry, Outcome, RoundOpened
from intertwine.protocols.errors import FederationError
from intertwine.server.home import Home
from intertwine.server.store import Store

SERIES = 50
"""Each participant's; what a training step takes is part of the commit exchange."""
_LOOK_S = 0.02
_DEADLINE_S = 600


@dataclass(frozen=True)
class Ours:
    """seconds_per_round: from a round's opening to the next. phases: the mean round, by `PHASES`.

    prove_s, verify_s: mean of one proof, wall time. The peaks are those of a run before the timed one, in
    10^6 bytes: of everything below `coordinator up`, and below one `agent run`; None where the system tells
    none.
    """

    seconds_per_round: float
    phases: dict[str, float]
    prove_s: float
    verify_s: float
    agent_peak_mb: float | None
    coordinator_peak_mb: float | None


def measure(root: Path, participants: int, count: int) -> Ours:
    """Time a run of so many rounds, after a short one in which the memory is watched."""
    with Daemons(root).guard() as daemons:
        federation = LocalFederation(root, daemons, participants, SERIES)
        federation.start()
        coordinator, agent = _peaks(federation)
        seen = _follow(federation, "timed", count)
        proofs = [row for name in federation.names for row in _releases(federation, name)]
    return _figures(seen, proofs, count, agent, coordinator)


def _peaks(federation: LocalFederation) -> tuple[float | None, float | None]:
    """Of the coordinator and of one agent during a run of one round.

    Not during the timed one: looking takes a good part of a core.
    """
    with ExitStack() as stack:
        watched = []
        for name in (COORDINATOR, federation.names[0]):
            memory = stack.enter_context(PeakMemory())
            _guard, process, *_ = tree(federation.daemons.guard_of(name))
            memory.watch(process)
            watched.append(memory)
        _follow(federation, "warm-up", 1)
    coordinator, agent = watched
    return coordinator.peak_mb, agent.peak_mb


def _follow(federation: LocalFederation, run: str, count: int) -> list[Seen]:
    """Launch a run of so many rounds and note when each of its entries appears."""
    home = Home.open(federation.coordinator)
    store = Store(home, home.signing_key)
    plan = federation.root / f"{run}.toml"
    everyone = federation.participants
    plan.write_text(f"rounds = {count}\nquorum = {everyone}\ndeadline_s = {_DEADLINE_S}\naverage_last = 1\n")
    federation.launch(run, plan, wait=False)
    times = [0.0] * store.size()
    while not store.run(run).ended:
        times += [time.monotonic()] * (store.size() - len(times))
        time.sleep(_LOOK_S)
    times += [time.monotonic()] * (store.size() - len(times))
    if store.run(run).state != "finished":
        raise FederationError(f"Run {run!r} has failed: {store.run(run).detail}")
    return [Seen(times[position], entry) for position, entry in store.run_entries(run)]


def _releases(federation: LocalFederation, name: str) -> list[SlotRow]:
    """A participant's releases of the timed run."""
    ledger = Ledger(AgentHome.open(federation.agent(name)).ledger)
    try:
        return [row for row in ledger.released(TASK) if row.run == "timed"]
    finally:
        ledger.close()


def _figures(
    seen: list[Seen], proofs: list[SlotRow], count: int, agent: float | None, coordinator: float | None
) -> Ours:
    outcomes = [each.entry for each in seen if isinstance(each.entry, Outcome)]
    if any(outcome.verdict != "accepted" for outcome in outcomes):
        raise FederationError("Not every release was accepted.")
    slowest: dict[int, float] = {}
    for row in proofs:
        slowest[row.number] = max(slowest.get(row.number, 0.0), row.prove_s)
    began = next(each.time for each in seen if isinstance(each.entry, RoundOpened))
    ended = max(each.time for each in seen if isinstance(each.entry, ModelEntry))
    return Ours(
        seconds_per_round=(ended - began) / count,
        phases=mean_phases(rounds(seen), slowest),
        prove_s=fmean(row.prove_s for row in proofs),
        verify_s=fmean(outcome.verify_ms for outcome in outcomes) / 1000,
        agent_peak_mb=agent,
        coordinator_peak_mb=coordinator,
    )
