"""The privacy account of a log: what every release that was ever made adds up to.

Every Release record counts, whatever became of it. A release without a valid proof may have revealed
anything, so its participant's figures become infinite. The statement `release` proves a bound for whole
participants only; what holds for one record rests on the participant's word that it clipped its records
(`attested-record`).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from intertwine.protocols.accounting import Assurance, Guarantee, guarantee
from intertwine.protocols.entries import Entry, Outcome, PlanEntry, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Slot
from intertwine.zk.sampler import total_variation

ALL_TASKS = "*"
"""Stands for the sum over a participant's tasks; no task has this name."""


@dataclass(frozen=True)
class PrivacyRow:
    """What one participant's releases for one task, or for all its tasks, guarantee.

    releases: all that were logged, invalid_releases of them without a valid proof; aborts: slots that ended
    without a release after the beacon was known (each may tell one chosen bit, which no figure covers).
    """

    participant: str
    task: str
    assurance: Assurance
    adjacency: str
    guarantee: Guarantee
    releases: int
    invalid_releases: int
    aborts: int


@dataclass
class _Tally:
    adjacency: str
    delta: float = 0.0
    eta: float = 0.0
    rho: dict[Assurance, float] = field(
        default_factory=lambda: dict.fromkeys((Assurance.PROVEN_PARTICIPANT, Assurance.ATTESTED_RECORD), 0.0)
    )
    releases: int = 0
    invalid: int = 0
    aborts: int = 0

    def release(self, plan: Plan, valid: bool) -> None:
        """Count one release."""
        self.releases += 1
        self.invalid += not valid
        self.delta = max(self.delta, float(plan.delta))
        self.eta += plan.dimension * total_variation(plan.sigma)
        self.rho[Assurance.PROVEN_PARTICIPANT] += plan.participant_rho() if valid else math.inf
        self.rho[Assurance.ATTESTED_RECORD] += plan.record_rho() if valid else math.inf

    def abort(self, plan: Plan) -> None:
        """Count one abort."""
        self.aborts += 1
        self.delta = max(self.delta, float(plan.delta))

    def row(self, participant: str, task: str, assurance: Assurance) -> PrivacyRow:
        """The figures so far."""
        figures = guarantee(self.rho[assurance], self.delta, self.eta)
        return PrivacyRow(
            participant, task, assurance, self.adjacency, figures, self.releases, self.invalid, self.aborts
        )


def account(entries: Sequence[Entry], proven: Collection[int]) -> list[PrivacyRow]:
    """The figures of every participant that released or aborted, over all runs, by participant and task.

    proven: positions in `entries` of the releases whose proofs are valid; all others count as infinite. If
    a task's plans differ in delta, the largest is used. A participant with several tasks also gets a row for
    all of them together, at participant level. VerificationError `privacy` for a release of an unplanned run.
    """
    tallies: dict[tuple[str, str], _Tally] = {}
    plans: dict[str, Plan] = {}
    for position, entry in enumerate(entries):
        if isinstance(entry, PlanEntry):
            plans[entry.plan.body.run] = entry.plan.body
        elif isinstance(entry, ReleaseEntry):
            slot = entry.release.body.slot
            plan = _plan_of(plans, slot)
            for tally in _tallies(tallies, slot, plan):
                tally.release(plan, position in proven)
        elif isinstance(entry, Outcome) and entry.verdict == "aborted":
            plan = _plan_of(plans, entry.slot)
            for tally in _tallies(tallies, entry.slot, plan):
                tally.abort(plan)
    return [row for key in sorted(tallies) for row in _rows(tallies, *key)]


def _plan_of(plans: dict[str, Plan], slot: Slot) -> Plan:
    if slot.round.run not in plans:
        raise VerificationError("privacy", f"run {slot.round.run!r} has releases but no plan.")
    return plans[slot.round.run]


def _tallies(tallies: dict[tuple[str, str], _Tally], slot: Slot, plan: Plan) -> list[_Tally]:
    return [
        tallies.setdefault((slot.participant, task), _Tally(plan.adjacency))
        for task in (plan.task, ALL_TASKS)
    ]


def _rows(tallies: dict[tuple[str, str], _Tally], participant: str, task: str) -> list[PrivacyRow]:
    tally = tallies[participant, task]
    if task != ALL_TASKS:
        return [tally.row(participant, task, assurance) for assurance in tally.rho]
    if sum(name == participant for name, _ in tallies) <= 2:
        return []
    return [tally.row(participant, task, Assurance.PROVEN_PARTICIPANT)]
