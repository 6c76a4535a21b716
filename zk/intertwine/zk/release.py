"""The release statement: u = g + z with ‖g‖₂ ≤ C and z discrete Gaussian, for g and randomness fixed before
the beacon.

A participant commits to its clipped integer vector g and to random bits r; then the beacon is drawn; then the
public bits b follow from it, z from r + b, and u = g + z is published with a proof. Constraints, byte format
and security argument: RELEASE.md. What is not proven: that g is a good gradient, or that r was kept secret.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import kzg, reference_string, verifier
from intertwine.zk.circuit import Circuit
from intertwine.zk.commitment import (
    MAX_DIMENSION,
    Commitments,
    Opening,
    check_sigma,
    check_vector,
    commit,
    noise,
    public_randomness,
    require_32_bytes,
)
from intertwine.zk.prover import Prover
from intertwine.zk.release_circuit import (
    page_columns,
    page_sizes,
    release_circuit,
    release_witness,
    selector_columns,
)
from intertwine.zk.sampler import SIGMAS, sampler
from intertwine.zk.transcript import Transcript

__all__ = [
    "CHECKS",
    "MAX_DIMENSION",
    "Check",
    "Commitments",
    "Opening",
    "ReleaseStatement",
    "commit",
    "noise",
    "proof_size",
    "prove",
    "prove_unchecked",
    "public_randomness",
    "verify",
]

MAX_NORM_BOUND = 1 << 27
"""Its square fits into the five limbs that hold what the norm leaves of it."""

_VERSION = b"intertwine/zk/release/1"


@dataclass(frozen=True)
class Check:
    """One numbered step of `verify`; `name` is what VerificationError.check says."""

    number: int
    name: str
    what: str


CHECKS: tuple[Check, ...] = (
    Check(1, "sigma_supported", "there is a threshold table for sigma"),
    Check(2, "norm_bound_range", "the norm bound is an integer from 1 to 2^27"),
    Check(3, "update_encoding", "the update is a vector of 1 to 131072 signed 64-bit integers"),
    Check(4, "update_range", "every entry of the update is below 2^20 in absolute value"),
    Check(5, "commitment_count", "there is one commitment to randomness and one to the gradient per page"),
    Check(6, "threshold_table", "the threshold table has the pinned digest"),
    Check(7, "reference_string", "the reference string has the pinned digest and its points are consistent"),
    Check(8, "proof_length", "the proof has the length that the dimension determines"),
    Check(9, "point_encoding", "every point is canonical, in the subgroup and not the identity"),
    Check(10, "scalar_canonical", "every scalar is below the group order"),
    Check(11, "constraint_identity", "the opened values satisfy all constraints at the random point"),
    Check(12, "opening_pairing", "the opened values belong to the commitments"),
)


@dataclass(frozen=True, eq=False)
class ReleaseStatement:
    """What is proven, and about whom.

    context: canonical bytes of everything else that is bound (deployment, task, model digest, round,
    participant and its key, adjacency, beacon mode, …); beacon, slot: 32 bytes; sigma: standard deviation in
    integer steps; norm_bound: C in integer steps; update: u, shape (d,), int64, |entries| < 2^20.
    """

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    norm_bound: int
    commitments: Commitments
    update: NDArray[np.int64]

    def __post_init__(self) -> None:
        require_32_bytes("beacon", self.beacon)
        require_32_bytes("slot", self.slot)
        if not isinstance(self.context, bytes):
            raise InputError("context is not bytes.", "Encode canonically what it binds.")


def prove(
    statement: ReleaseStatement, opening: Opening, progress: Callable[[float], None] | None = None
) -> bytes:
    """Prove a release; the same statement gives the same bytes.

    progress: called with the fraction done. Raises InputError if the statement is not true of the opening, or
    if it would be the fourth distinct one proven with it.
    """
    try:
        check_statement(statement)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    _refuse_false_statement(statement, opening)
    prover = _prover(statement, opening, progress)
    proof = prover.prove()
    if not prover.satisfied:
        raise InputError("the witness does not satisfy the statement.", "Commit anew in the next slot.")
    return proof


def prove_unchecked(statement: ReleaseStatement, opening: Opening) -> bytes:
    """Prove a statement that may be false. For tests and fault injection only: `verify` refuses it."""
    return _prover(statement, opening).prove()


def verify(statement: ReleaseStatement, proof: bytes) -> None:
    """Verify a release by the numbered CHECKS, in their order; VerificationError names the first that fails.

    Does not check where the beacon comes from, that the commitments are older than it, or that they are new:
    those are checks of the log.
    """
    check_statement(statement)  # checks 1 to 6
    points = reference_string.load()  # check 7
    commitments = statement.commitments
    committed = {
        f"{name}[{page}]": kzg.decode_point(data)
        for name, encoded in (("r", commitments.randomness), ("g", commitments.gradient))
        for page, data in enumerate(encoded)
    }
    circuit, public, transcript = _circuit(statement), _public_columns(statement), _transcript(statement)
    verifier.verify(circuit, points, public, committed, transcript, proof)  # checks 8 to 12


def proof_size(dimension: int) -> int:
    """Exact length in bytes of a proof for vectors of this dimension; InputError outside 1..MAX_DIMENSION."""
    if not 1 <= dimension <= MAX_DIMENSION:
        raise InputError(f"dimension is {dimension}.", f"It must be from 1 to {MAX_DIMENSION}.")
    return verifier.proof_size(release_circuit(SIGMAS[0], dimension, 1))


def check_statement(statement: ReleaseStatement) -> None:
    """Checks 1 to 6, which need no proof; raises VerificationError."""
    check_sigma(statement.sigma)
    if type(statement.norm_bound) is not int or not 1 <= statement.norm_bound <= MAX_NORM_BOUND:
        raise VerificationError("norm_bound_range", f"the norm bound is {statement.norm_bound}.")
    check_vector("update", statement.update)
    if len(statement.commitments.gradient) != len(page_sizes(len(statement.update))):
        raise VerificationError("commitment_count", "the commitments are for another number of pages.")
    sampler(statement.sigma)


def _refuse_false_statement(statement: ReleaseStatement, opening: Opening) -> None:
    """InputError unless u = g + z and ‖g‖ ≤ C for this opening."""
    if statement.commitments != opening.commitments or statement.sigma != opening.sigma:
        raise InputError(
            "the statement is about other commitments.", "Prove with the opening they came from."
        )
    gradient = opening.gradient
    if len(statement.update) != len(gradient) or np.any(
        statement.update != gradient + noise(opening, statement.beacon, statement.slot)
    ):
        raise InputError("the update is not gradient plus noise.", "Release gradient + noise(opening, …).")
    if int(np.sum(gradient * gradient)) > statement.norm_bound**2:
        raise InputError("the gradient is longer than the norm bound.", "Clip it before committing.")


def _prover(
    statement: ReleaseStatement,
    opening: Opening,
    progress: Callable[[float], None] | None = None,
    make: type[Prover] = Prover,
) -> Prover:
    """The prover for a statement, true or not, about an opening of the same dimension."""
    transcript = _transcript(statement)
    opening.register(transcript.digest())
    shared = public_randomness(statement.beacon, statement.slot, len(statement.update), statement.sigma)
    return make(
        _circuit(statement),
        reference_string.load(),
        _public_columns(statement),
        opening.columns,
        release_witness(
            sampler(statement.sigma), statement.norm_bound, opening.random_bits, shared, opening.gradient
        ),
        transcript,
        opening.secrets,
        progress,
    )


def _circuit(statement: ReleaseStatement) -> Circuit:
    return release_circuit(statement.sigma, len(statement.update), statement.norm_bound)


def _public_columns(statement: ReleaseStatement) -> dict[str, list[int]]:
    dimension = len(statement.update)
    shared = public_randomness(statement.beacon, statement.slot, dimension, statement.sigma)
    return {
        **selector_columns(dimension),
        **page_columns("u", statement.update.tolist()),
        **page_columns("b", shared.tolist()),
    }


def _transcript(statement: ReleaseStatement) -> Transcript:
    """A transcript that has absorbed version, circuit, reference string and the whole statement."""
    transcript = Transcript(_VERSION)
    transcript.absorb("circuit", _circuit(statement).digest)
    transcript.absorb("reference_string", bytes.fromhex(reference_string.DIGEST))
    transcript.absorb("context", statement.context)
    transcript.absorb("beacon", statement.beacon)
    transcript.absorb("slot", statement.slot)
    numbers = {
        "sigma": statement.sigma,
        "norm_bound": statement.norm_bound,
        "dimension": len(statement.update),
    }
    for name, value in numbers.items():
        transcript.absorb(name, value.to_bytes(8, "little"))
    transcript.absorb_all("randomness", statement.commitments.randomness)
    transcript.absorb_all("gradient", statement.commitments.gradient)
    transcript.absorb("update", hashlib.sha256(statement.update.astype("<i8").tobytes()).digest())
    return transcript
