"""What an audit found in a log, as an auditor or a regulator would file it: values only, no presentation.

Entries are positions in the log, counted from 0. Times are seconds since 1970, UTC, by the coordinator's
clock. Digests are SHA-256 in hexadecimal. Everything here is what the log says; whether the log is to be
believed is for the verdict's checks.
"""

from dataclasses import dataclass
from enum import StrEnum


class SlotEnd(StrEnum):
    """What became of a participant's place in a round.

    accepted: its release counts in the model; rejected: its release failed a check; aborted: it committed,
    but never released; absent: it never committed; open: it committed, and the round failed before its
    beacon, or the log ends before the slot does.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ABORTED = "aborted"
    ABSENT = "absent"
    OPEN = "open"


class RoundEnd(StrEnum):
    """model: new parameters were logged; failed: the round was given up; open: the log ends before it."""

    MODEL = "model"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True)
class Scope:
    """What was audited. deployment: its public key, which is the log's; root: of all entries (RFC 6962)."""

    deployment: str
    origin: str
    entries: int
    root: str
    first_time: int
    last_time: int


@dataclass(frozen=True)
class ParticipantKey:
    """A signing key, in force from the entry after `entry` until the next one is."""

    key: str
    entry: int


@dataclass(frozen=True)
class Participant:
    """Who enrolled. Name and role are the coordinator's word.

    keys: every signing key it had, in their order; entry, time: of its enrolment; revoked: why its membership
    was ended, None if it was not.
    """

    name: str
    role: str
    tasks: tuple[str, ...]
    keys: tuple[ParticipantKey, ...]
    node_key: str
    entry: int
    time: int
    revoked: str | None


@dataclass(frozen=True)
class AdministrativeAct:
    """What was done besides. kind: that of the act, or key-change or revocation; detail: in words."""

    entry: int
    time: int
    kind: str
    detail: str


@dataclass(frozen=True)
class DatasetReport:
    """Records that a participant committed to, as of one document of its chain.

    head: digest of the signed document, which commits name; added: records of this document; records: of
    the whole chain; row_bound: proven L2 bound on a record's features, an integer; label, entries: proven
    form of labels and features.
    """

    participant: str
    task: str
    sequence: int
    head: str
    added: int
    records: int
    columns: int
    row_bound: int
    label: str
    entries: str
    entry: int
    time: int


@dataclass(frozen=True)
class StatementReport:
    """What the proofs of some runs, or of enrolled records, say in words.

    statement: release, statistics, glm or dataset; uses: the runs, or the tasks of datasets; proven: what
    holds for each valid proof; not_proven: what a reader may not conclude.
    """

    statement: str
    uses: tuple[str, ...]
    title: str
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]


@dataclass(frozen=True)
class SlotReport:
    """One participant's place in a round.

    check: the check that a rejected release failed, or why it aborted. proof_valid: what the auditor's own
    verification said, None if there was nothing to verify. dataset: head of the records that the commit
    names. Empty texts and None: there is no such thing.
    """

    participant: str
    end: SlotEnd
    check: str
    proof_valid: bool | None
    dataset: str
    update: str
    proof: str
    commit_entry: int | None
    release_entry: int | None
    outcome_entry: int | None


@dataclass(frozen=True)
class RoundReport:
    """One round: the parameters that it started from, its public randomness, its slots and how it ended.

    entry, time: of its opening. beacon: 32 bytes in hexadecimal, empty if it was never drawn; failure: the
    coordinator's reason for a failed round; aggregate, parameters: digests of the new model, if there is one.
    """

    number: int
    entry: int
    time: int
    start: str
    beacon_mode: str
    beacon: str
    beacon_entry: int | None
    slots: tuple[SlotReport, ...]
    end: RoundEnd
    failure: str
    aggregate: str
    parameters: str
    end_entry: int | None

    def count(self, end: SlotEnd) -> int:
        """How many slots ended so."""
        return sum(slot.end is end for slot in self.slots)


@dataclass(frozen=True)
class PublicationReport:
    """The model that a run published: its parameters, the ONNX file's digest, and where the log says so."""

    parameters: str
    onnx: str
    entry: int
    time: int


@dataclass(frozen=True)
class RunReport:
    """A run: what its plan fixed in advance, its rounds, and what it published.

    checked: whether its proofs and models were verified; of others only the log was. model: digest that names
    the task's model; plan: of the signed plan's body; sigma, record_bound: in integer units; initial,
    template: digests of the first parameters, and of the ONNX graph that the last ones go into; stopped:
    whether the coordinator ended it early.
    """

    name: str
    task: str
    checked: bool
    statement: str
    model: str
    plan: str
    entry: int
    time: int
    dimension: int
    planned_rounds: int
    quorum: int
    sigma: int
    record_bound: int
    delta: str
    adjacency: str
    beacon_mode: str
    initial: str
    template: str
    stopped: bool
    rounds: tuple[RoundReport, ...]
    publication: PublicationReport | None


@dataclass(frozen=True)
class WitnessReport:
    """A witness of the policy. time: of its co-signature of the log, by its own clock; None without one."""

    nickname: str
    name: str
    key: str
    time: int | None


@dataclass(frozen=True)
class Signatures:
    """Who stands for the log: its key, where the auditor has it from, and the witnesses of the policy.

    key_source: `given` by the auditor, or `self-asserted` by the bundle. witnesses: empty without a policy.
    """

    log_key: str
    key_source: str
    witnesses: tuple[WitnessReport, ...]


@dataclass(frozen=True)
class Versions:
    """What verified: this package, the proof protocol, the libraries, and the digest of the reference string.

    independent_verifier: whether the second verifier, on py_ecc alone, checked the proofs as well.
    """

    intertwine: str
    proof_protocol: str
    py_arkworks_bls12381: str
    py_ecc: str
    python_flint: str
    python: str
    reference_string: str
    independent_verifier: bool


@dataclass(frozen=True)
class Report:
    """The record of a deployment as its log tells it, and who checked it with what.

    limits: what no audit of a bundle shows, in words.
    """

    scope: Scope
    participants: tuple[Participant, ...]
    acts: tuple[AdministrativeAct, ...]
    datasets: tuple[DatasetReport, ...]
    statements: tuple[StatementReport, ...]
    runs: tuple[RunReport, ...]
    signatures: Signatures
    versions: Versions
    limits: tuple[str, ...]
