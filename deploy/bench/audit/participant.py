"""What a participant of the generated federation does in one slot: real keys, commitments and proofs.

Seeds follow from the slot, so a slot has the same commit and release in every run, whichever process makes
them. Gradients are invented: what an audit costs does not depend on their values.
"""

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intertwine.client.openings import Opening, open_commit
from intertwine.protocols.aggregation import parameters_from_bytes, update_to_bytes
from intertwine.protocols.encoding import sha256
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, Signed, Slot
from intertwine.protocols.signing import SigningKey
from intertwine.zk.round_proof import statement_for, verify_release

GRADIENT_ENTRY = 1_000


@dataclass(frozen=True)
class Released:
    """A release as a participant sends it, and how long the coordinator's verification of it took."""

    document: bytes
    update: bytes
    proof: bytes
    verify_ms: int


def signing_key(name: str) -> SigningKey:
    """The key of the participant, or of the log, with this name: the same in every run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def commit(plan: Plan, slot: Slot, parameters: bytes) -> bytes:
    """The slot's signed commit. parameters: those that the round starts from, as the log has them."""
    opening = _open(plan, slot, parameters)
    body = Commit(
        slot=slot,
        plan=plan.digest(),
        parameters=sha256(parameters),
        randomness=[point.hex() for point in opening.randomness],
        gradient=[point.hex() for point in opening.gradient],
        dataset="",
        lot=[],
    )
    return Signed[Commit].create(body, signing_key(slot.participant)).encode()


def release(plan: Plan, document: bytes, beacon: bytes, parameters: bytes) -> Released:
    """The release of the slot of a signed commit, proven and verified."""
    answered = Signed[Commit].decode(document)
    slot = answered.body.slot
    opening = _open(plan, slot, parameters)
    vector = opening.total(beacon, slot.identifier()) + opening.noise(beacon, slot.identifier())
    start = parameters_from_bytes(parameters, plan.dimension)
    proof = opening.prove(statement_for(plan, answered, beacon, vector, start, None))
    update = update_to_bytes(vector)
    body = Release(
        slot=slot,
        commit=answered.digest(),
        beacon=beacon.hex(),
        update=sha256(update),
        proof=sha256(proof),
    )
    signed = Signed[Release].create(body, signing_key(slot.participant))
    started = time.perf_counter()
    verify_release(plan, answered, beacon, signed, update, proof, parameters, None)
    return Released(signed.encode(), update, proof, round(1000 * (time.perf_counter() - started)))


def _open(plan: Plan, slot: Slot, parameters: bytes) -> Opening:
    seed = slot.identifier()
    gradient = np.random.default_rng(list(seed)).integers(-GRADIENT_ENTRY, GRADIENT_ENTRY, plan.dimension)
    start = parameters_from_bytes(parameters, plan.dimension)
    return open_commit(plan, seed, gradient=gradient, parameters=start, dataset=None)
