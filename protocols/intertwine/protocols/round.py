"""One round: slot, commit, beacon, release. The documents that travel, and what the proof binds.

    coordinator                          participant
        CommitRequest (parameters) ----->
                                  <----- Commit   (to gradient and randomness)
        ReleaseRequest (beacon)    ----->
                                  <----- Release  (digest of the update) + update + proof

Every body is signed by its author. A slot is one participant's place in one round; it has one commit,
one beacon and one release.
"""

import hashlib
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field

from intertwine.protocols.dataset import MAX_DATASET_PAGES
from intertwine.protocols.document import (
    Document,
    Hex32,
    Hex32OrEmpty,
    Hex64,
    Name,
    Note,
    Point,
    Timestamp,
)
from intertwine.protocols.encoding import decode, encode, length_prefixed, tagged_digest
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.plan import Plan
from intertwine.protocols.signing import SigningKey, verify_signature

MAX_PAGES = 33
MAX_NOISE_POINTS = 2 * MAX_PAGES  # two levels of noise
BEACON_BYTES = 32

Body = TypeVar("Body", bound=Document)


class RoundId(Document):
    """One round of one run; `number` counts from 1."""

    deployment: Hex32
    run: Name
    task: Name
    number: Annotated[int, Field(ge=1, le=1000)]


class Slot(Document):
    """One participant's place in one round."""

    round: RoundId
    participant: Name

    def identifier(self) -> bytes:
        """32 bytes that name the slot in the beacon's expansion."""
        return tagged_digest("intertwine/slot/v1", self.encode())


class CommitRequest(Document):
    """The coordinator asks for a commit. The attachment is the parameter vector.

    nonce_digest: SHA-256 of the coordinator's beacon nonce, fixed here before any commit exists.
    """

    round: RoundId
    plan: Plan
    parameters: Hex32
    nonce_digest: Hex32


class Commit(Document):
    """A participant fixes its randomness and what its update will be computed from.

    randomness: KZG commitments to r, page by page of 4088 coordinates, level by level.
    gradient: one to each page of g if the plan's statement is `release`; empty otherwise.
    dataset: digest of the Signed[Dataset] at the head of the chain whose records are used; empty for
    `release`. lot: one commitment to the lot's randomness for each page of that chain if the plan's
    statement is `glm` with a lot below 2048; empty otherwise.
    """

    slot: Slot
    plan: Hex32
    parameters: Hex32
    randomness: Annotated[list[Point], Field(min_length=1, max_length=MAX_NOISE_POINTS)]
    gradient: Annotated[list[Point], Field(max_length=MAX_PAGES)]
    dataset: Hex32OrEmpty
    lot: Annotated[list[Point], Field(max_length=MAX_DATASET_PAGES)]


class InclusionProof(Document):
    """Entry `index` under a checkpoint: the hashes from the leaf upwards (RFC 6962)."""

    index: Annotated[int, Field(ge=0, le=2**48)]
    path: Annotated[list[Hex32], Field(max_length=64)]


class ReleaseRequest(Document):
    """The coordinator reveals its nonce and shows that the commit was logged before the beacon existed.

    commit_time: the time in the commit's log entry, which makes the entry's bytes known to the participant.
    """

    slot: Slot
    commit_time: Timestamp
    checkpoint: Note
    nonce: Hex32
    inclusion: InclusionProof


class Release(Document):
    """A participant's one release: the digest of u, under the beacon it was made for."""

    slot: Slot
    commit: Hex32
    beacon: Hex32
    update: Hex32
    proof: Hex32


class Refusal(Document):
    """A participant declines a request and says why; it releases nothing."""

    slot: Slot
    reason: Annotated[str, Field(max_length=500)]


class Signed(Document, Generic[Body]):
    """A body, its type's name and its author's Ed25519 signature."""

    kind: Annotated[str, Field(max_length=32)]
    body: Body
    key: Hex32
    signature: Hex64

    @classmethod
    def create(cls, body: Body, key: SigningKey) -> Self:
        """Sign `body`."""
        kind = type(body).__name__
        return cls(kind=kind, body=body, key=key.public, signature=key.sign(kind, body.encode()))

    def open(self, public: str) -> Body:
        """The body, if `public` signed it; VerificationError `signature` otherwise."""
        if self.key != public or self.kind != type(self.body).__name__:
            raise VerificationError("signature", "the document is signed by another key than expected.")
        verify_signature(public, self.kind, self.body.encode(), self.signature)
        return self.body


def kind_of(document: bytes) -> str:
    """What kind of signed document these canonical bytes claim to be; InputError if they claim nothing."""
    value = decode(document)
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise InputError("A message is not a signed document.")
    return kind


class StatementContext(Document):
    """What the proof of a release is bound to, besides the update, its commitments and the bounds.

    The proof absorbs the canonical bytes of this document, so it fits no other participant, round,
    model, parameter vector, plan, dataset, commit or beacon.
    """

    version: Literal["intertwine/statement/v2"] = "intertwine/statement/v2"
    slot: Slot
    participant_key: Hex32
    plan: Hex32
    model: Hex32
    parameters: Hex32
    dataset: Hex32OrEmpty
    adjacency: Literal["zero-out"]
    beacon_mode: Literal["M1"]
    beacon: Hex32
    commit: Hex32

    @classmethod
    def create(cls, plan: Plan, commit: Signed[Commit], beacon: bytes) -> Self:
        """The context of the release that answers `commit` under `beacon`."""
        return cls(
            slot=commit.body.slot,
            participant_key=commit.key,
            plan=commit.body.plan,
            model=plan.model,
            parameters=commit.body.parameters,
            dataset=commit.body.dataset,
            adjacency=plan.adjacency,
            beacon_mode=plan.beacon,
            beacon=beacon.hex(),
            commit=commit.digest(),
        )


def derive_beacon(round_id: RoundId, checkpoint: str, nonce: bytes) -> bytes:
    """The round's public randomness, 32 bytes: SHAKE256 of the commits' checkpoint and the nonce (mode M1).

    No participant can predict it, because the nonce is secret until the commits are logged. The
    coordinator fixed the nonce before them, but may still vary the checkpoint: one that colludes with a
    participant is outside mode M1.
    """
    material = length_prefixed(b"intertwine/beacon/v1", checkpoint.encode(), nonce, round_id.encode())
    return hashlib.shake_256(material).digest(BEACON_BYTES)


def model_digest(task: str, dimension: int, version: int) -> str:
    """The digest that names a model: its task, number of parameters and version of the definition."""
    document = {"task": task, "dimension": dimension, "version": version}
    return tagged_digest("intertwine/model/v1", encode(document)).hex()
