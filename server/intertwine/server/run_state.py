"""A run as a state machine: pure, and made from the log's entries alone.

    PLAN ──round──> COMMIT ──beacon──> RELEASE <──> VERIFY ──> AGGREGATE ──model──> PLAN
                                        after the plan's last round:  PUBLISH ──publication──> ENDED

`RunState.after` gives the state that an entry leads to, and refuses one that cannot come next. The phase says
what the driver has to do now. A driver that starts in the middle of a run folds the run's entries and goes
on where the one before it was killed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    Entry,
    Failure,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
    RunStopped,
)
from intertwine.protocols.errors import FederationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import RoundId, Slot


class Phase(StrEnum):
    """What a run needs next."""

    PLAN = "plan"
    COMMIT = "commit"
    RELEASE = "release"
    VERIFY = "verify"
    AGGREGATE = "aggregate"
    PUBLISH = "publish"
    ENDED = "ended"


@dataclass(frozen=True)
class SlotState:
    """One participant's place in a round. position: of its commit in the log."""

    commit: CommitEntry | None = None
    position: int = 0
    release: ReleaseEntry | None = None
    outcome: Outcome | None = None

    @property
    def pending(self) -> bool:
        """Whether it has committed and not ended."""
        return self.commit is not None and self.outcome is None


@dataclass(frozen=True)
class RoundState:
    """A round that was opened. slots: by participant, in the plan's order."""

    opened: RoundOpened
    slots: Mapping[str, SlotState]
    beacon: BeaconEntry | None = None
    model: ModelEntry | None = None

    @property
    def identity(self) -> RoundId:
        """Which round it is."""
        return self.opened.round

    def slot(self, participant: str) -> Slot:
        """The identity of a participant's slot."""
        return Slot(round=self.identity, participant=participant)

    @property
    def committed(self) -> dict[str, SlotState]:
        """The slots that have a commit."""
        return {name: slot for name, slot in self.slots.items() if slot.commit is not None}

    @property
    def accepted(self) -> dict[str, ReleaseEntry]:
        """The releases that count, by participant."""
        return {
            name: slot.release
            for name, slot in self.slots.items()
            if slot.release is not None and slot.outcome is not None and slot.outcome.verdict == "accepted"
        }

    @property
    def phase(self) -> Phase:
        """What an open round needs next."""
        if self.beacon is None:
            return Phase.COMMIT
        pending = [slot for slot in self.slots.values() if slot.pending]
        if any(slot.release is not None for slot in pending):
            return Phase.VERIFY
        return Phase.RELEASE if pending else Phase.AGGREGATE


@dataclass(frozen=True)
class RunState:
    """A run. rounds: those that have ended, with a model or without; current: the one that is open.

    planned: its plan is in the log. failed: the log's latest word is a failure, after which a run goes on,
    if it was not stopped, with its next round.
    """

    plan: Plan
    planned: bool = False
    rounds: tuple[RoundState, ...] = ()
    current: RoundState | None = None
    failed: bool = False
    stopped: bool = False
    publication: Publication | None = field(default=None)

    @classmethod
    def of(cls, plan: Plan, entries: Iterable[tuple[int, Entry]]) -> Self:
        """The state that a run's entries, in order and with their positions, add up to."""
        state = cls(plan)
        for position, entry in entries:
            state = state.after(position, entry)
        return state

    @property
    def phase(self) -> Phase:
        """What the run needs next."""
        if self.publication is not None or self.stopped or self.failed:
            return Phase.ENDED
        if self.current is not None:
            return self.current.phase
        return Phase.PLAN if len(self.rounds) < self.plan.rounds else Phase.PUBLISH

    @property
    def number(self) -> int:
        """The round that is open, or was last; 1 before the first."""
        return max(1, len(self.rounds) + (self.current is not None))

    @property
    def resumable(self) -> bool:
        """Whether a run that failed could go on with another round."""
        return self.publication is None and not self.stopped and len(self.rounds) < self.plan.rounds

    def resumed(self) -> Self:
        """The state without its failure, if the next round may be opened."""
        return replace(self, failed=self.failed and not self.resumable)

    def round_id(self) -> RoundId:
        """The identity of the round with `number`."""
        return self._identity(self.number)

    def next_round_id(self) -> RoundId:
        """The identity of the round after those that have ended."""
        return self._identity(len(self.rounds) + 1)

    def _identity(self, number: int) -> RoundId:
        plan = self.plan
        return RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)

    def after(self, position: int, entry: Entry) -> Self:
        """The state once `entry` is in the log; FederationError if it cannot follow."""
        self._require(self.planned != isinstance(entry, PlanEntry), entry)
        match entry:
            case PlanEntry() | Act() | Failure():
                return self._administered(entry)
            case RoundOpened():
                return self._opened(entry)
            case CommitEntry() | ReleaseEntry() | Outcome():
                return self._in_slot(position, entry)
            case BeaconEntry():
                current = self._open(Phase.COMMIT, entry)
                return replace(self, current=replace(current, beacon=entry))
            case ModelEntry():
                current = self._open(Phase.AGGREGATE, entry)
                self._require(entry.accepted == sorted(current.accepted), entry)
                self._require(len(entry.accepted) >= self.plan.quorum, entry)
                return replace(self, rounds=(*self.rounds, replace(current, model=entry)), current=None)
            case Publication():
                self._require(self.phase is Phase.PUBLISH and entry.round == self.round_id(), entry)
                return replace(self, publication=entry)
        raise _misplaced(self.plan.run, entry)

    def _administered(self, entry: PlanEntry | Act | Failure) -> Self:
        going = self.phase is not Phase.ENDED or self.resumable
        match entry:
            case PlanEntry():
                self._require(entry.plan.body == self.plan, entry)
                return replace(self, planned=True)
            case Act(act=RunStopped(run=run)):
                self._require(going and run == self.plan.run, entry)
                return replace(self, stopped=True, failed=False)
            case Failure():
                self._require(going or (self.stopped and not self.failed), entry)
                self._require(entry.round == self.round_id(), entry)
                return self._failed(entry)
        return self

    def _failed(self, entry: Failure) -> Self:
        """A round that fails leaves no slot without its outcome, once the beacon is drawn."""
        if self.current is None:
            return replace(self, failed=True)
        self._require(self.current.phase not in (Phase.RELEASE, Phase.VERIFY), entry)
        return replace(self, rounds=(*self.rounds, self.current), current=None, failed=True)

    def _opened(self, entry: RoundOpened) -> Self:
        self._require(self.current is None and self.resumable, entry)
        self._require(entry.round == self.next_round_id(), entry)
        slots = {name: SlotState() for name in self.plan.participants if name in entry.participants}
        self._require(entry.participants == list(slots), entry)
        return replace(self, current=RoundState(entry, slots), failed=False)

    def _in_slot(self, position: int, entry: CommitEntry | ReleaseEntry | Outcome) -> Self:
        current, identity = self.current, _slot_of(entry)
        name = identity.participant
        if current is None or self.stopped or current.identity != identity.round or name not in current.slots:
            raise _misplaced(self.plan.run, entry)
        slot = current.slots[name]
        match entry:
            case CommitEntry():
                self._require(current.beacon is None and slot.commit is None, entry)
                slot = replace(slot, commit=entry, position=position)
            case ReleaseEntry():
                self._require(current.beacon is not None and slot.pending and slot.release is None, entry)
                slot = replace(slot, release=entry)
            case Outcome():
                self._require(current.beacon is not None and slot.pending, entry)
                self._require((entry.verdict == "aborted") == (slot.release is None), entry)
                self._require((entry.verdict == "accepted") == (entry.check == ""), entry)
                slot = replace(slot, outcome=entry)
        return replace(self, current=replace(current, slots={**current.slots, name: slot}))

    def _open(self, phase: Phase, entry: BeaconEntry | ModelEntry) -> RoundState:
        """The open round, if it is in this phase and the entry is of it."""
        current = self.current
        if current is None or self.phase is not phase or entry.round != current.identity:
            raise _misplaced(self.plan.run, entry)
        return current

    def _require(self, condition: bool, entry: Entry) -> None:
        if not condition:
            raise _misplaced(self.plan.run, entry)


def _slot_of(entry: CommitEntry | ReleaseEntry | Outcome) -> Slot:
    if isinstance(entry, Outcome):
        return entry.slot
    return entry.commit.body.slot if isinstance(entry, CommitEntry) else entry.release.body.slot


def _misplaced(run: str, entry: Entry) -> FederationError:
    return FederationError(f"Run {run!r}: an entry of type {entry.type!r} cannot come next in its log.")
