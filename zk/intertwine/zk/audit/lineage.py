"""From a log that was retraced to the report: who took part, what happened, and what each model came from."""

from collections.abc import Collection, Iterable, Iterator

from intertwine.protocols.checkpoint import Checkpoint
from intertwine.protocols.cosignature import Cosigner
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
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import RoundId, Slot
from intertwine.zk.audit.history import DatasetRecord, History, RoundHistory, RunHistory, SlotHistory
from intertwine.zk.audit.membership import Member
from intertwine.zk.audit.report import (
    AdministrativeAct,
    DatasetReport,
    Participant,
    ParticipantKey,
    PublicationReport,
    Report,
    RoundEnd,
    RoundReport,
    RunReport,
    Scope,
    Signatures,
    SlotEnd,
    SlotReport,
    StatementReport,
    WitnessReport,
)
from intertwine.zk.audit.versions import versions
from intertwine.zk.dataset_proof import document_shape
from intertwine.zk.proof_summary import Summary, summarise_plan, summarise_records

LIMITS = (
    "That anybody's data are true, complete, or nobody's counted twice.",
    "That the coordinator logged every release that reached it: it could keep one back and log an abort. "
    "Participants can compare the releases in this report with what 'intertwine agent budget' shows them.",
    "That everybody was shown this log. Compare its root with others'; a witness that co-signed has seen it.",
    "That the coordinator and a participant did not collude: in beacon mode M1 the two together could choose "
    "noise that protects less. Every proven epsilon is conditional on that.",
    "That times are right, and who stands behind a name or has which role: all are the coordinator's word.",
    "What participants reveal outside the protocol, their noise included.",
    "Anything against a large quantum computer: the proofs' soundness is computational.",
)
"""What no audit of a bundle shows; see docs/threat-model.md."""


class Chronicle:
    """What the report needs of the entries and History does not keep: positions, times, reasons.

    Where the log says a thing twice, the first counts, as for History.
    """

    def __init__(self) -> None:
        self.first_time, self.last_time = 2**40, 0
        self.acts: list[AdministrativeAct] = []
        self.times: dict[int, int] = {}  # of plans, datasets and publications, by position
        self.opened: dict[RoundId, int] = {}
        self.beacons: dict[RoundId, tuple[int, str]] = {}  # position and mode
        self.failures: dict[RoundId, tuple[int, str]] = {}  # position and reason
        self.outcomes: dict[Slot, int] = {}

    def add(self, index: int, entry: Entry) -> None:
        """Note the next entry."""
        self.first_time, self.last_time = min(self.first_time, entry.time), max(self.last_time, entry.time)
        match entry:
            case Act() | KeyChange() | Revocation():
                self.acts.append(_act(index, entry))
            case DatasetEntry() | PlanEntry() | Publication():
                self.times[index] = entry.time
            case RoundOpened():
                self.opened.setdefault(entry.round, index)
            case BeaconEntry():
                self.beacons.setdefault(entry.round, (index, entry.mode))
            case Failure():
                self.failures.setdefault(entry.round, (index, entry.reason))
            case Outcome():
                self.outcomes.setdefault(entry.slot, index)
            case Enrolment() | CommitEntry() | ReleaseEntry() | ModelEntry():
                pass  # History keeps all of them


def signatures(policy: Policy, given: bool, cosigners: Iterable[Cosigner]) -> Signatures:
    """Who vouches for the log, under a policy that the auditor was given or else made of the bundle's key."""
    times = {cosigner.nickname: cosigner.time for cosigner in cosigners}
    return Signatures(
        log_key=policy.log_key,
        key_source="given" if given else "self-asserted",
        witnesses=tuple(
            WitnessReport(witness.nickname, witness.name, witness.key_hex, times.get(witness.nickname))
            for witness in policy.witnesses
        ),
    )


def compose(
    history: History,
    chronicle: Chronicle,
    checkpoint: Checkpoint,
    signed: Signatures,
    proven: Collection[int] | None,
    independent: bool,
    checked: Collection[str] | None = None,
) -> Report:
    """The report of a log whose entries went, in order, to both `history` and `chronicle`.

    checkpoint: over all of them; signed: by whom. proven: positions of the releases whose proofs the auditor
    found valid, None if it has verified none; independent: whether the second verifier checked them as well.
    checked: the runs whose proofs and models it has looked at, None for all.
    """
    scope = history.runs.keys() if checked is None else checked
    runs = tuple(_run(run, chronicle, proven, name in scope) for name, run in history.runs.items())
    first = min(chronicle.first_time, chronicle.last_time)
    return Report(
        scope=Scope(
            deployment=signed.log_key,
            origin=checkpoint.origin,
            entries=checkpoint.size,
            root=checkpoint.root.hex(),
            first_time=first,
            last_time=chronicle.last_time,
        ),
        participants=tuple(_participant(history.members[name]) for name in sorted(history.members)),
        acts=tuple(chronicle.acts),
        datasets=tuple(_dataset(record, chronicle) for record in history.datasets),
        statements=tuple(_statements(history)),
        runs=runs,
        signatures=signed,
        versions=versions(independent),
        limits=LIMITS,
    )


def _participant(member: Member) -> Participant:
    entry, (enrolled, _) = member.enrolment, member.keys[0]
    return Participant(
        name=entry.participant,
        role=entry.role,
        tasks=tuple(entry.tasks),
        keys=tuple(ParticipantKey(key, index) for index, key in member.keys),
        node_key=entry.node_key,
        entry=enrolled,
        time=entry.time,
        revoked=member.revocation.reason if member.revocation else None,
    )


def _act(index: int, entry: Act | KeyChange | Revocation) -> AdministrativeAct:
    match entry:
        case KeyChange(change=change):
            kind, name = "key-change", change.body.participant
            detail = f"{name} replaced its signing key, for the {change.body.sequence}. time"
        case Revocation(participant=name, reason=reason):
            kind, detail = "revocation", f"{name}'s membership was ended: {reason}"
        case Act(act=LogCreated(version=version)):
            kind, detail = "init", f"the log was created, in format {version}"
        case Act(act=InvitationIssued() as invitation):
            terms = f"{invitation.participant} as {invitation.role} for {', '.join(invitation.tasks)}"
            kind, detail = "invitation", f"number {invitation.number}: {terms}"
        case Act(act=InvitationsEnded(participant=name)):
            kind, detail = "invitations-end", f"{name}'s invitations were ended"
        case Act(act=AccessGranted() as grant):
            kind, detail = (
                "grant",
                f"number {grant.number}: {grant.name} may use the control plane as {grant.role}",
            )
        case Act(act=AccessEnded(number=number)):
            kind, detail = "grant-end", f"grant {number} was ended"
        case Act(act=RunStopped(run=run)):
            kind, detail = "stop", f"run {run} was to end early"
        case Act(act=RunResumed(run=run)):
            kind, detail = "resume", f"run {run} was to go on"
    if isinstance(entry, Act) and entry.by:
        detail += f"; {entry.by} asked for it"
    return AdministrativeAct(index, entry.time, kind, detail)


def _dataset(record: DatasetRecord, chronicle: Chronicle) -> DatasetReport:
    body = record.signed.body
    return DatasetReport(
        participant=body.participant,
        task=body.task,
        sequence=body.sequence,
        head=record.chain.head,
        added=sum(page.rows for page in body.pages),
        records=record.chain.dataset.rows,
        columns=body.columns,
        row_bound=body.row_bound,
        label=body.label,
        entries=body.entries,
        entry=record.index,
        time=chronicle.times[record.index],
    )


def _statements(history: History) -> Iterator[StatementReport]:
    """One for each different summary: of enrolled records first, then of the runs' plans."""
    uses: dict[tuple[str, Summary], dict[str, None]] = {}
    for record in history.datasets:
        summary = summarise_records(document_shape(record.signed.body))
        uses.setdefault(("dataset", summary), {})[record.signed.body.task] = None
    for name, run in history.runs.items():
        key = run.plan.mechanism.statement, summarise_plan(run.plan)
        uses.setdefault(key, {})[name] = None
    for (statement, summary), names in uses.items():
        yield StatementReport(statement, tuple(names), summary.title, summary.proven, summary.not_proven)


def _run(run: RunHistory, chronicle: Chronicle, proven: Collection[int] | None, checked: bool) -> RunReport:
    plan = run.plan
    return RunReport(
        name=plan.run,
        task=plan.task,
        checked=checked,
        statement=plan.mechanism.statement,
        model=plan.model,
        plan=plan.digest(),
        entry=run.index,
        time=chronicle.times[run.index],
        dimension=plan.dimension,
        planned_rounds=plan.rounds,
        quorum=plan.quorum,
        sigma=plan.sigma,
        record_bound=plan.record_bound,
        delta=plan.delta,
        adjacency=plan.adjacency,
        beacon_mode=plan.beacon,
        initial=plan.initial,
        template=plan.template,
        stopped=run.stopped,
        rounds=tuple(_round(current, chronicle, proven if checked else None) for current in run.rounds),
        publication=_publication(run, chronicle),
    )


def _publication(run: RunHistory, chronicle: Chronicle) -> PublicationReport | None:
    entry = run.publication
    if entry is None:
        return None
    time = chronicle.times[run.publication_index]
    return PublicationReport(entry.parameters, entry.onnx, run.publication_index, time)


def _round(current: RoundHistory, chronicle: Chronicle, proven: Collection[int] | None) -> RoundReport:
    identity, model = current.opened.round, current.model
    beacon_entry, mode = chronicle.beacons.get(identity, (None, current.plan.beacon))
    failed_entry, reason = chronicle.failures.get(identity, (None, ""))
    end = RoundEnd.MODEL if model else RoundEnd.FAILED if current.failed else RoundEnd.OPEN
    slots = (
        _slot(name, slot, chronicle.outcomes.get(Slot(round=identity, participant=name)), proven)
        for name, slot in current.slots.items()
    )
    return RoundReport(
        number=identity.number,
        entry=chronicle.opened[identity],
        time=current.opened.time,
        start=current.opened.parameters,
        beacon_mode=mode,
        beacon=current.beacon.hex() if current.beacon else "",
        beacon_entry=beacon_entry if current.beacon else None,
        slots=tuple(slots),
        end=end,
        failure=reason if end is RoundEnd.FAILED else "",
        aggregate=model.aggregate if model else "",
        parameters=model.parameters if model else "",
        end_entry=current.model_index if model else failed_entry if end is RoundEnd.FAILED else None,
    )


def _slot(
    name: str, slot: SlotHistory, outcome_entry: int | None, proven: Collection[int] | None
) -> SlotReport:
    release, outcome = slot.release, slot.outcome
    verified = proven is not None and release is not None and outcome is not None
    return SlotReport(
        participant=name,
        end=_end(slot),
        check=outcome.check if outcome else "",
        proof_valid=slot.release_index in proven if verified and proven is not None else None,
        dataset=slot.commit.body.dataset if slot.commit else "",
        update=release.body.update if release else "",
        proof=release.body.proof if release else "",
        commit_entry=slot.commit_index if slot.commit else None,
        release_entry=slot.release_index if release else None,
        outcome_entry=outcome_entry if outcome else None,
    )


def _end(slot: SlotHistory) -> SlotEnd:
    if slot.outcome:
        return SlotEnd(slot.outcome.verdict)
    return SlotEnd.OPEN if slot.commit else SlotEnd.ABSENT
