"""The privacy account of a log: what every release that was ever made adds up to.

Every Release record counts, whatever became of it. A release without a valid proof may have revealed
anything, so its participant's figures become infinite.

What a figure rests on follows from the plans alone. The statement `release` proves a bound for whole
participants; what holds for one record rests on the participant's word that it clipped its records
(`attested-record`). The data-bound statements prove what one record contributes (`proven-record`), but not
how many records there are, so they bound no participant as a whole. A chain is as strong as its weakest
link: the figure for one record of a task in which both kinds occurred is `attested-record`, and there is none
for the participant.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from intertwine.protocols.accounting import Assurance, Guarantee, Loss, guarantee
from intertwine.protocols.entries import Entry, Outcome, PlanEntry, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Slot
from intertwine.zk.sampler import total_variation

ALL_TASKS = "*"
"""Stands for the sum over a participant's tasks; no task has this name."""

_RECORD = (Assurance.PROVEN_RECORD, Assurance.ATTESTED_RECORD)


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
    """Losses by level. A level stays as long as every slot's plan states a loss for it."""

    adjacency: str
    delta: float = 0.0
    losses: dict[Assurance, Loss] = field(default_factory=dict)
    slots: int = 0
    releases: int = 0
    invalid: int = 0
    aborts: int = 0

    def release(self, plan: Plan, valid: bool) -> None:
        """Count one release."""
        self.releases += 1
        self.invalid += not valid
        stated = plan.losses(plan.dimension * total_variation(plan.sigma))
        self._add(plan, stated if valid else {level: loss + Loss(math.inf) for level, loss in stated.items()})

    def abort(self, plan: Plan) -> None:
        """Count one abort; it decides, like a release, which levels can be stated."""
        self.aborts += 1
        self._add(plan, dict.fromkeys(plan.losses(0.0), Loss()))

    def row(self, participant: str, task: str, assurance: Assurance) -> PrivacyRow:
        """The figures so far."""
        figures = guarantee(self.losses[assurance], self.delta)
        return PrivacyRow(
            participant, task, assurance, self.adjacency, figures, self.releases, self.invalid, self.aborts
        )

    def _add(self, plan: Plan, losses: dict[Assurance, Loss]) -> None:
        self.delta = max(self.delta, float(plan.delta))
        if self.slots:
            losses = together(self.losses, losses)
        self.losses, self.slots = losses, self.slots + 1


def account(entries: Sequence[Entry], proven: Collection[int]) -> list[PrivacyRow]:
    """The figures of every participant that released or aborted, over all runs, by participant and task.

    proven: positions in `entries` of the releases whose proofs are valid; all others count as infinite. If
    a task's plans differ in delta, the largest is used. A participant with several tasks also gets a row for
    all of them together, at participant level, unless one of them has no figure at that level.
    VerificationError `privacy` for a release of an unplanned run.
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


def together(before: dict[Assurance, Loss], after: dict[Assurance, Loss]) -> dict[Assurance, Loss]:
    """The levels that both have, added up; figures for one record at the weaker of their levels."""
    added = {level: before[level] + after[level] for level in before if level in after}
    one, two = (next(level for level in _RECORD if level in losses) for losses in (before, after))
    if one is not two:
        added[Assurance.ATTESTED_RECORD] = before[one] + after[two]
    return added


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
        return [tally.row(participant, task, assurance) for assurance in tally.losses]
    several = sum(name == participant for name, _ in tallies) > 2
    if not several or Assurance.PROVEN_PARTICIPANT not in tally.losses:
        return []
    return [tally.row(participant, task, Assurance.PROVEN_PARTICIPANT)]
