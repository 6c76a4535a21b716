"""The entries of the log: everything an auditor needs to retrace a run, in the order it happened.

An entry is written in the same transaction as what it records. Administrative acts that have no entry of
their own are an `Act`; what else the coordinator can be told to do changes nothing that an auditor relies on.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from intertwine.protocols.dataset import Dataset
from intertwine.protocols.document import Document, Hex32, Name, Note, Timestamp, describe
from intertwine.protocols.encoding import decode
from intertwine.protocols.errors import InputError
from intertwine.protocols.keys import NewKey
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot

ROLES = ("retailer", "creator", "smb", "security")
Role: TypeAlias = Literal["retailer", "creator", "smb", "security"]
AccessRole: TypeAlias = Literal["coordinator", "auditor"]
Verdict: TypeAlias = Literal["accepted", "rejected", "aborted"]


class LogCreated(Document):
    """The log began: its key, and the version of its entries. Always entry 0, and nowhere else."""

    kind: Literal["init"] = "init"
    version: Literal["intertwine/log/v1"] = "intertwine/log/v1"
    log_key: Hex32


class InvitationIssued(Document):
    """Somebody may enrol under this name, with this role and for these tasks, until `expires`.

    number: counts the deployment's invitations from 1. The token is a secret and leaves no trace here.
    """

    kind: Literal["invitation"] = "invitation"
    number: Annotated[int, Field(ge=1, le=2**32)]
    participant: Name
    role: Role
    tasks: list[Name]
    expires: Timestamp


class InvitationsEnded(Document):
    """All invitations for this name so far were ended before anybody enrolled with one.

    number: of the latest invitation for anybody, so that no two such entries are equal.
    """

    kind: Literal["invitations-end"] = "invitations-end"
    number: Annotated[int, Field(ge=1, le=2**32)]
    participant: Name


class RunStopped(Document):
    """A run was told to end before its plan was carried out."""

    kind: Literal["stop"] = "stop"
    run: Name


class RunResumed(Document):
    """A run that had failed, or that nothing drove any more, was told to go on."""

    kind: Literal["resume"] = "resume"
    run: Name


class AccessGranted(Document):
    """Somebody may use the control plane under this name and with this role until `expires`.

    number: counts the deployment's grants from 1. The token is a secret and leaves no trace here.
    """

    kind: Literal["grant"] = "grant"
    number: Annotated[int, Field(ge=1, le=2**32)]
    name: Name
    role: AccessRole
    expires: Timestamp


class AccessEnded(Document):
    """A grant was ended before it expired."""

    kind: Literal["grant-end"] = "grant-end"
    number: Annotated[int, Field(ge=1, le=2**32)]


class Act(Document):
    """An administrative act of the coordinator.

    by: the name, from a grant, of who asked for it over HTTP; left out if it was done at the coordinator's.
    """

    type: Literal["act"] = "act"
    time: Timestamp
    by: Annotated[Name | None, Field(exclude_if=lambda name: name is None)] = None
    act: Annotated[
        LogCreated
        | InvitationIssued
        | InvitationsEnded
        | RunStopped
        | RunResumed
        | AccessGranted
        | AccessEnded,
        Field(discriminator="kind"),
    ]


class Enrolment(Document):
    """A participant's keys and role were registered; the role is the coordinator's word."""

    type: Literal["enrolment"] = "enrolment"
    time: Timestamp
    participant: Name
    role: Role
    tasks: list[Name]
    signing_key: Hex32
    node_key: Hex32


class KeyChange(Document):
    """A participant replaced its signing key; what it signs from now on is signed with the new one."""

    type: Literal["key-change"] = "key-change"
    time: Timestamp
    change: Signed[NewKey]


class Revocation(Document):
    """The coordinator ended a participant's membership, for good, and why."""

    type: Literal["revocation"] = "revocation"
    time: Timestamp
    participant: Name
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class DatasetEntry(Document):
    """A participant committed to records; written after their proofs were verified."""

    type: Literal["dataset"] = "dataset"
    time: Timestamp
    dataset: Signed[Dataset]


class PlanEntry(Document):
    """A run was planned. No entry of the run comes before this one."""

    type: Literal["plan"] = "plan"
    time: Timestamp
    plan: Signed[Plan]


class RoundOpened(Document):
    """A round's slots were assigned, and the coordinator's beacon nonce was committed to."""

    type: Literal["round"] = "round"
    time: Timestamp
    round: RoundId
    parameters: Hex32
    nonce_digest: Hex32
    participants: list[Name]


class CommitEntry(Document):
    """A slot's commit arrived."""

    type: Literal["commit"] = "commit"
    time: Timestamp
    commit: Signed[Commit]


class BeaconEntry(Document):
    """The round's randomness became public, over a checkpoint that covers all its commits."""

    type: Literal["beacon"] = "beacon"
    time: Timestamp
    round: RoundId
    mode: Literal["M1"] = "M1"
    checkpoint: Note
    nonce: Hex32
    beacon: Hex32


class ReleaseEntry(Document):
    """A slot's release arrived; written before the update or proof is looked at."""

    type: Literal["release"] = "release"
    time: Timestamp
    release: Signed[Release]


class Outcome(Document):
    """How a slot ended.

    accepted; rejected, with the name of the failed check; or aborted: committed, but never released.
    """

    type: Literal["outcome"] = "outcome"
    time: Timestamp
    slot: Slot
    verdict: Verdict
    check: Annotated[str, Field(max_length=64)]
    verify_ms: Annotated[int, Field(ge=0)]


class ModelEntry(Document):
    """A round's accepted updates were aggregated into new parameters."""

    type: Literal["model"] = "model"
    time: Timestamp
    round: RoundId
    accepted: list[Name]
    aggregate: Hex32
    parameters: Hex32


class Publication(Document):
    """A run ended: its published parameters and the digest of the model file that follows from them."""

    type: Literal["publication"] = "publication"
    time: Timestamp
    round: RoundId
    parameters: Hex32
    onnx: Hex32


class Failure(Document):
    """A round or run ended without a new model, and why."""

    type: Literal["failure"] = "failure"
    time: Timestamp
    round: RoundId
    reason: Annotated[str, Field(max_length=500)]


Entry: TypeAlias = (
    Act
    | Enrolment
    | KeyChange
    | Revocation
    | DatasetEntry
    | PlanEntry
    | RoundOpened
    | CommitEntry
    | BeaconEntry
    | ReleaseEntry
    | Outcome
    | ModelEntry
    | Publication
    | Failure
)

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="type")])


def decode_entry(data: bytes) -> Entry:
    """Parse one entry's canonical bytes; InputError naming the field at fault."""
    decode(data)
    try:
        entry = _ENTRY.validate_json(data)
    except ValidationError as error:
        raise InputError(f"Log entry: {describe(error)}") from error
    if entry.encode() != data:
        raise InputError("Log entry: a field that has only one value is missing.", "Write it out.")
    return entry


def run_of(entry: Entry) -> str:
    """The run that an entry is about; empty if it is about none."""
    match entry:
        case PlanEntry():
            return entry.plan.body.run
        case CommitEntry(commit=Signed(body=body)) | ReleaseEntry(release=Signed(body=body)):
            return body.slot.round.run
        case Outcome(slot=Slot(round=identity)):
            return identity.run
        case RoundOpened() | BeaconEntry() | ModelEntry() | Publication() | Failure():
            return entry.round.run
        case Act(act=RunStopped(run=run) | RunResumed(run=run)):
            return run
        case _:
            return ""


def blobs_of(entry: Entry) -> list[str]:
    """Digests of the files that an entry names: vectors, commitments, proofs, templates, models."""
    if isinstance(entry, DatasetEntry):
        return [digest for page in entry.dataset.body.pages for digest in (page.commitments, page.proof)]
    if isinstance(entry, PlanEntry):
        return [entry.plan.body.initial, entry.plan.body.template]
    if isinstance(entry, ReleaseEntry):
        return [entry.release.body.update, entry.release.body.proof]
    if isinstance(entry, ModelEntry):
        return [entry.parameters]
    if isinstance(entry, Publication):
        return [entry.parameters, entry.onnx]
    return []
