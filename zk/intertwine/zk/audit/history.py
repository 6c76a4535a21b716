"""The log retraced: who enrolled, what was planned, and what happened in every slot, in which order.

`History.add` takes the entries one by one and judges each against those before it. Of the blobs it reads
only the commitments of datasets, whose points count as used from then on. An entry that breaks a rule is a
finding of the check that the rule belongs to (see `intertwine.zk.audit.verdict`); it is then left out, except
that a model entry always counts as the end of its round. So a finding can mislead later checks but never an
earlier one.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from intertwine.protocols.checkpoint import open_checkpoint
from intertwine.protocols.dataset import Dataset
from intertwine.protocols.document import Document
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    AccessEnded,
    AccessGranted,
    Act,
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Enrolment,
    Entry,
    Failure,
    InvitationIssued,
    InvitationsEnded,
    KeyChange,
    LogCreated,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    Revocation,
    RoundOpened,
    RunResumed,
    RunStopped,
)
from intertwine.protocols.errors import IntertwineError
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot, derive_beacon
from intertwine.zk.audit.finding import Finding
from intertwine.zk.audit.membership import Member, Membership, broken, require
from intertwine.zk.dataset_proof import Chain, extend
from intertwine.zk.round_proof import Answer, check_commit

# Which check judges each type of entry, or of administrative act.
_CHECKS: dict[type[Document], str] = {
    LogCreated: "enrolment",
    InvitationIssued: "enrolment",
    InvitationsEnded: "enrolment",
    AccessGranted: "enrolment",
    AccessEnded: "enrolment",
    RunStopped: "plan",
    RunResumed: "plan",
    Enrolment: "enrolment",
    KeyChange: "enrolment",
    Revocation: "enrolment",
    DatasetEntry: "dataset",
    PlanEntry: "plan",
    RoundOpened: "plan",
    Failure: "plan",
    CommitEntry: "commit",
    BeaconEntry: "beacon",
    ReleaseEntry: "release",
    Outcome: "outcome",
    ModelEntry: "aggregate",
    Publication: "publication",
}


@dataclass
class SlotHistory:
    """One participant's place in a round; the numbers are positions in the log."""

    commit_index: int = 0
    commit: Signed[Commit] | None = None
    chain: Chain | None = None
    release_index: int = 0
    release: Signed[Release] | None = None
    outcome: Outcome | None = None


@dataclass
class RoundHistory:
    """A round that was opened."""

    plan: Plan
    opened: RoundOpened
    slots: dict[str, SlotHistory]
    beacon: bytes | None = None
    model: ModelEntry | None = None
    model_index: int = 0
    failed: bool = False

    @property
    def closed(self) -> bool:
        """Whether the round has ended, with a model or without."""
        return self.failed or self.model is not None

    def accepted(self) -> list[str]:
        """The participants whose releases were accepted, by name."""
        outcomes = {name: slot.outcome for name, slot in self.slots.items()}
        return sorted(name for name, end in outcomes.items() if end is not None and end.verdict == "accepted")

    def unanswered(self) -> list[SlotHistory]:
        """Slots that committed and know the beacon, but have no outcome, or none yet."""
        if self.beacon is None:
            return []
        return [slot for slot in self.slots.values() if slot.commit is not None and slot.outcome is None]


@dataclass
class RunHistory:
    """A planned run."""

    index: int
    plan: Plan
    parameters: str
    rounds: list[RoundHistory] = field(default_factory=list)
    stopped: bool = False
    publication: Publication | None = None
    publication_index: int = 0


@dataclass(frozen=True)
class DatasetRecord:
    """Records that were enrolled, and the chain that was in force from then on."""

    index: int
    signed: Signed[Dataset]
    chain: Chain


@dataclass(frozen=True)
class ReleaseRecord:
    """A release with what it answers. chain: the records that the commit named, None if the plan uses none.

    rejected_as: the check its outcome names, empty if it was accepted.
    """

    index: int
    plan: Plan
    commit: Signed[Commit]
    chain: Chain | None
    beacon: bytes
    release: Signed[Release]
    rejected_as: str

    def answer(self, blob: Callable[[str], bytes]) -> Answer:
        """The release with its files, ready to be judged; blob: the bytes of a digest."""
        body, parameters = self.release.body, self.commit.body.parameters
        update, proof, start = map(blob, (body.update, body.proof, parameters))
        return Answer(self.plan, self.commit, self.beacon, self.release, update, proof, start, self.chain)


class History:
    """What the entries so far add up to, and the first finding of each check."""

    def __init__(
        self,
        origin: str,
        log_key: str,
        root_at: Callable[[int], bytes],
        blob: Callable[[str], bytes],
    ) -> None:
        """origin, log_key: the log's; root_at: the root over so many entries; blob: the bytes of a digest."""
        self.datasets: list[DatasetRecord] = []
        self.runs: dict[str, RunHistory] = {}
        self.rounds: dict[RoundId, RoundHistory] = {}
        self.judged: Counter[str] = Counter()
        self.findings: dict[str, Finding] = {}
        self._origin, self._log_key, self._root_at, self._blob = origin, log_key, root_at, blob
        self._membership = Membership(log_key, self._claim)
        self._chains: dict[tuple[str, str], Chain] = {}  # in force, by participant and task
        self._contents: dict[tuple[str, str], set[str]] = {}  # of the chains in force
        self._owners: dict[str, str] = {}  # who enrolled which content
        self._used: set[str] = set()  # keys, nonce digests and commitment points seen so far

    @property
    def members(self) -> dict[str, Member]:
        """Everyone who enrolled, by name."""
        return self._membership.members

    def add(self, index: int, entry: Entry) -> None:
        """Judge and record the next entry."""
        check = _CHECKS[type(entry.act if isinstance(entry, Act) else entry)]
        self.judged[check] += 1
        self._begin(index, entry)
        try:
            match entry:
                case Act() | Enrolment() | KeyChange() | Revocation():
                    self._administer(index, entry)
                case DatasetEntry():
                    self._dataset(index, entry)
                case PlanEntry():
                    self._plan(index, entry)
                case RoundOpened():
                    self._open(entry)
                case Failure():
                    self._fail(entry)
                case CommitEntry():
                    self._commit(index, entry)
                case BeaconEntry():
                    self._beacon(index, entry)
                case ReleaseEntry():
                    self._release(index, entry)
                case Outcome():
                    self._outcome(entry)
                case ModelEntry():
                    self._model(index, entry)
                case Publication():
                    self._publication(index, entry)
        except IntertwineError as error:
            self.findings.setdefault(check, Finding(index, error.problem))

    def finish(self) -> None:
        """Look for what should have happened and is not in the log."""
        for index, problem in self._missing_outcomes():
            self.findings.setdefault("outcome", Finding(index, problem))

    def releases(self) -> list[ReleaseRecord]:
        """Every release that has an outcome, in the order of the log."""
        records = (_record_of(current, slot) for current, slot in self._slots())
        return sorted((record for record in records if record is not None), key=lambda record: record.index)

    def release_of(self, slot: Slot) -> ReleaseRecord | None:
        """The slot's release, if it has one with an outcome."""
        current = self.rounds.get(slot.round)
        if current is None or slot.participant not in current.slots:
            return None
        return _record_of(current, current.slots[slot.participant])

    def _slots(self) -> Iterator[tuple[RoundHistory, SlotHistory]]:
        for current in self.rounds.values():
            for slot in current.slots.values():
                yield current, slot

    def _begin(self, index: int, entry: Entry) -> None:
        """The first entry counts as what it is, even if it is not the one that should be there."""
        if index == 0 and not (isinstance(entry, Act) and isinstance(entry.act, LogCreated)):
            self.findings["enrolment"] = Finding(0, "the log does not begin with the entry of its creation")

    def _administer(self, index: int, entry: Act | Enrolment | KeyChange | Revocation) -> None:
        if isinstance(entry, Act) and entry.by:
            self._membership.check_author(entry.by)
        match entry:
            case Enrolment():
                self._membership.enrol(index, entry)
            case KeyChange():
                self._membership.change_key(index, entry)
            case Revocation():
                self._membership.revoke(entry)
            case Act(act=LogCreated(log_key=key)):
                require(index == 0, "the log was created before")
                require(key == self._log_key, "the log was created with another key")
            case Act(act=InvitationIssued() as invitation):
                self._membership.invite(invitation)
            case Act(act=InvitationsEnded() as end):
                self._membership.end_invitations(end)
            case Act(act=AccessGranted() as grant):
                self._membership.grant(grant)
            case Act(act=AccessEnded(number=number)):
                self._membership.end_grant(number)
            case Act(act=RunStopped(run=name)):
                self._going(name).stopped = True
            case Act(act=RunResumed(run=name)):
                self._going(name)

    def _going(self, name: str) -> RunHistory:
        """A planned run that was neither stopped nor published."""
        run = self.runs.get(name)
        if run is None:
            raise broken(f"run {name!r} was not planned")
        require(not run.stopped, "the run was stopped before")
        require(run.publication is None, "the run has already published its model")
        return run

    def _dataset(self, index: int, entry: DatasetEntry) -> None:
        body = entry.dataset.body
        member = self._membership.active(body.participant)
        require(
            body.task in member.enrolment.tasks,
            f"participant {body.participant!r} is not enrolled for task {body.task!r}",
        )
        entry.dataset.open(member.key)
        require(body.deployment == self._log_key, "the dataset is for another deployment")
        commitments = [self._blob(page.commitments) for page in body.pages]
        chain = extend(self._chains.get((body.participant, body.task)), entry.dataset, commitments)
        added = chain.dataset.pages[-len(body.pages) :]
        self._claim("a commitment", *(point.hex() for page in added for point in page.commitments))
        self._claim_content(body)
        self._chains[body.participant, body.task] = chain
        self.datasets.append(DatasetRecord(index, entry.dataset, chain))

    def _claim_content(self, body: Dataset) -> None:
        """Refuse records that another participant has enrolled, or that the same chain holds already.

        The owner may enrol its records again in a new chain, or for another task: all its releases count,
        whichever chain they used.
        """
        held = self._contents.get((body.participant, body.task), set()) if body.previous else set()
        owner = self._owners.setdefault(body.content, body.participant)
        require(owner == body.participant, f"participant {owner!r} has enrolled the same records")
        require(body.content not in held, "its chain holds the same records already")
        self._contents[body.participant, body.task] = held | {body.content}

    def _plan(self, index: int, entry: PlanEntry) -> None:
        plan = entry.plan.open(self._log_key)
        require(plan.deployment == self._log_key, "the plan is for another deployment")
        require(plan.run not in self.runs, f"run {plan.run!r} is planned twice")
        for name in plan.participants:
            member = self._membership.active(name)
            require(
                plan.task in member.enrolment.tasks,
                f"participant {name!r} is not enrolled for task {plan.task!r}",
            )
        self.runs[plan.run] = RunHistory(index, plan, plan.initial)

    def _open(self, entry: RoundOpened) -> None:
        run = self._run(entry.round)
        last = run.rounds[-1] if run.rounds else None
        require(run.publication is None, "the run has already published its model")
        require(not run.stopped, "the run was stopped")
        require(last is None or last.closed, "the round before has neither a model nor a failure")
        require(entry.round.number == len(run.rounds) + 1, "the rounds are not numbered in order")
        require(entry.round.number <= run.plan.rounds, "the plan has fewer rounds")
        require(entry.parameters == run.parameters, "its parameters are not those of the model before it")
        members = [name for name in run.plan.participants if not self._membership.revoked(name)]
        require(entry.participants == members, "its slots are not those of the plan's participants")
        self._claim("a nonce", entry.nonce_digest)
        opened = RoundHistory(run.plan, entry, {name: SlotHistory() for name in entry.participants})
        run.rounds.append(opened)
        self.rounds[entry.round] = opened

    def _fail(self, entry: Failure) -> None:
        run = self._run(entry.round)
        if run.rounds:  # whichever round the entry names, the run goes on, if at all, with a new one
            run.rounds[-1].failed = True

    def _commit(self, index: int, entry: CommitEntry) -> None:
        current, slot = self._slot(entry.commit.body.slot)
        commit = entry.commit.open(self._membership.active(entry.commit.body.slot.participant).key)
        require(slot.commit is None, "the slot has already committed")
        require(current.beacon is None, "the commit comes after the beacon")
        require(not current.closed, "the round has ended")
        require(commit.plan == current.plan.digest(), "the commit is for another plan")
        require(commit.parameters == current.opened.parameters, "the commit is for other parameters")
        chain = self._chains.get((commit.slot.participant, current.plan.task))
        check_commit(current.plan, commit, chain)
        self._claim("a commitment", *commit.randomness, *commit.gradient, *commit.lot)
        slot.commit, slot.commit_index = entry.commit, index
        slot.chain = chain if commit.dataset else None

    def _beacon(self, index: int, entry: BeaconEntry) -> None:
        current = self._round(entry.round)
        require(current.beacon is None, "the round already has a beacon")
        require(not current.closed, "the round has ended")
        nonce = bytes.fromhex(entry.nonce)
        require(
            sha256(nonce) == current.opened.nonce_digest,
            "its nonce was not committed to when the round opened",
        )
        checkpoint = open_checkpoint(entry.checkpoint, self._origin, self._log_key)
        covered = [slot.commit_index for slot in current.slots.values() if slot.commit is not None]
        require(checkpoint.size <= index, "its checkpoint claims entries that did not exist yet")
        require(
            checkpoint.size > max(covered, default=0), "its checkpoint does not cover the round's commits"
        )
        require(
            checkpoint.root == self._root_at(checkpoint.size),
            "its checkpoint is not one of this log",
        )
        beacon = derive_beacon(entry.round, entry.checkpoint, nonce)
        require(beacon.hex() == entry.beacon, "its value does not follow from checkpoint and nonce")
        current.beacon = beacon

    def _release(self, index: int, entry: ReleaseEntry) -> None:
        current, slot = self._slot(entry.release.body.slot)
        # The proof is bound to the key of the commit, and a slot has one key from commit to outcome.
        entry.release.open(slot.commit.key if slot.commit else self._key(entry.release.body.slot))
        require(slot.release is None, "the slot has already released")
        require(slot.commit is not None, "the slot has not committed")
        require(current.beacon is not None, "the release comes before the beacon")
        require(not current.closed, "the round has ended")
        slot.release, slot.release_index = entry.release, index

    def _outcome(self, entry: Outcome) -> None:
        current, slot = self._slot(entry.slot)
        require(slot.outcome is None, "the slot has already ended")
        require(slot.commit is not None, "the slot has not committed")
        require(not current.closed, "the round has ended")
        released, aborted = slot.release is not None, entry.verdict == "aborted"
        require(released != aborted, "it aborts a release" if aborted else "the slot has released nothing")
        require(
            (entry.verdict == "accepted") == (entry.check == ""),
            "verdict and failed check contradict each other",
        )
        slot.outcome = entry

    def _model(self, index: int, entry: ModelEntry) -> None:
        current, run = self._round(entry.round), self._run(entry.round)
        require(not current.closed, "the round has already ended")
        current.model, current.model_index = entry, index
        run.parameters = entry.parameters
        require(sorted(entry.accepted) == current.accepted(), "its list is not that of the accepted releases")
        require(len(entry.accepted) >= current.plan.quorum, "it has fewer updates than the quorum")

    def _publication(self, index: int, entry: Publication) -> None:
        run = self._run(entry.round)
        require(run.publication is None, "the run has already published")
        require(not run.stopped, "the run was stopped")
        require(
            entry.round.number == run.plan.rounds == len(run.rounds) and run.rounds[-1].model is not None,
            "the run has not finished all its rounds",
        )
        run.publication, run.publication_index = entry, index

    def _missing_outcomes(self) -> Iterator[tuple[int, str]]:
        """Releases, and silent slots of ended rounds that had a beacon, without an outcome."""
        pending = [
            (slot.release_index, "the release has no outcome")
            if slot.release is not None
            else (slot.commit_index, "the slot committed, never released, and has no outcome")
            for current in self.rounds.values()
            for slot in current.unanswered()
            if slot.release is not None or current.closed
        ]
        yield from sorted(pending)

    def _run(self, identity: RoundId) -> RunHistory:
        run = self.runs.get(identity.run)
        if run is None or (identity.deployment, identity.task) != (run.plan.deployment, run.plan.task):
            raise broken(f"run {identity.run!r} of task {identity.task!r} was not planned")
        return run

    def _round(self, identity: RoundId) -> RoundHistory:
        if identity not in self.rounds:
            raise broken(f"round {identity.number} of run {identity.run!r} was not opened")
        return self.rounds[identity]

    def _slot(self, slot: Slot) -> tuple[RoundHistory, SlotHistory]:
        current = self._round(slot.round)
        if slot.participant not in current.slots:
            raise broken(f"{slot.participant!r} has no slot in the round")
        return current, current.slots[slot.participant]

    def _key(self, slot: Slot) -> str:
        return self.members[slot.participant].key

    def _claim(self, what: str, *values: str) -> None:
        """Record values that may occur only once in the whole log."""
        if len(set(values)) != len(values) or not self._used.isdisjoint(values):
            raise broken(f"{what} occurs for the second time in the log")
        self._used.update(values)


def _record_of(current: RoundHistory, slot: SlotHistory) -> ReleaseRecord | None:
    """A slot's release with what it answers, once it has an outcome."""
    if slot.commit is None or current.beacon is None or slot.release is None or slot.outcome is None:
        return None
    return ReleaseRecord(
        slot.release_index,
        current.plan,
        slot.commit,
        slot.chain,
        current.beacon,
        slot.release,
        slot.outcome.check,
    )
