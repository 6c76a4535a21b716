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
from collections.abc import Collection
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

    releases: all that were logged, invalid_releases of them without a valid proof, unverified_releases of
    them valid by the log's word alone; aborts: slots that ended without a release after the beacon was known
    (each may tell one chosen bit, which no figure covers).
    """

    participant: str
    task: str
    assurance: Assurance
    adjacency: str
    guarantee: Guarantee
    releases: int
    invalid_releases: int
    unverified_releases: int
    aborts: int


@dataclass
class Tally:
    """One participant's losses by level. A level stays as long as every slot's plan states a loss for it."""

    adjacency: str
    delta: float = 0.0
    losses: dict[Assurance, Loss] = field(default_factory=dict)
    slots: int = 0
    releases: int = 0
    invalid: int = 0
    unverified: int = 0
    aborts: int = 0

    def release(self, plan: Plan, valid: bool, verified: bool) -> None:
        """Count one release."""
        self.releases += 1
        self.invalid += not valid
        self.unverified += valid and not verified
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
            participant,
            task,
            assurance,
            self.adjacency,
            figures,
            self.releases,
            self.invalid,
            self.unverified,
            self.aborts,
        )

    def _add(self, plan: Plan, losses: dict[Assurance, Loss]) -> None:
        self.delta = max(self.delta, float(plan.delta))
        if self.slots:
            losses = together(self.losses, losses)
        self.losses, self.slots = losses, self.slots + 1


class Account:
    """Everything that a log says was released, gathered entry by entry."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._events: list[tuple[int, str, Plan, bool]] = []  # position, participant, plan, whether released

    def add(self, position: int, entry: Entry) -> None:
        """Note the entry at `position`; VerificationError `privacy` for a release of an unplanned run."""
        if isinstance(entry, PlanEntry):
            self._plans[entry.plan.body.run] = entry.plan.body
        elif isinstance(entry, ReleaseEntry):
            self._note(position, entry.release.body.slot, released=True)
        elif isinstance(entry, Outcome) and entry.verdict == "aborted":
            self._note(position, entry.slot, released=False)

    @property
    def releases(self) -> int:
        """How many were logged."""
        return sum(released for *_, released in self._events)

    def rows(self, proven: Collection[int], unverified: Collection[int] = ()) -> list[PrivacyRow]:
        """The figures of every participant that released or aborted, over all runs, by participant and task.

        proven: positions of the releases whose proofs were found valid; unverified: of those that are by the
        log's word alone; all others count as infinite. If a task's plans differ in delta, the largest is
        used. A participant with several tasks also gets a row for all of them together, at participant
        level, unless one of them has no figure at that level.
        """
        tallies: dict[tuple[str, str], Tally] = {}
        for position, participant, plan, released in self._events:
            verified = position in proven
            for task in (plan.task, ALL_TASKS):
                tally = tallies.setdefault((participant, task), Tally(plan.adjacency))
                if released:
                    tally.release(plan, verified or position in unverified, verified)
                else:
                    tally.abort(plan)
        return [row for key in sorted(tallies) for row in _rows(tallies, *key)]

    def _note(self, position: int, slot: Slot, released: bool) -> None:
        plan = self._plans.get(slot.round.run)
        if plan is None:
            raise VerificationError("privacy", f"run {slot.round.run!r} has releases but no plan.")
        self._events.append((position, slot.participant, plan, released))


def together(before: dict[Assurance, Loss], after: dict[Assurance, Loss]) -> dict[Assurance, Loss]:
    """The levels that both have, added up; figures for one record at the weaker of their levels."""
    added = {level: before[level] + after[level] for level in before if level in after}
    one, two = (next(level for level in _RECORD if level in losses) for losses in (before, after))
    if one is not two:
        added[Assurance.ATTESTED_RECORD] = before[one] + after[two]
    return added


def _rows(tallies: dict[tuple[str, str], Tally], participant: str, task: str) -> list[PrivacyRow]:
    tally = tallies[participant, task]
    if task != ALL_TASKS:
        return [tally.row(participant, task, assurance) for assurance in tally.losses]
    several = sum(name == participant for name, _ in tallies) > 2
    if not several or Assurance.PROVEN_PARTICIPANT not in tally.losses:
        return []
    return [tally.row(participant, task, Assurance.PROVEN_PARTICIPANT)]
