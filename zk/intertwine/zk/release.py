"""The release statement: u = g + z with ‖g‖₂ ≤ C and z discrete Gaussian, for g and randomness fixed before
the beacon.

A participant commits to its clipped integer vector g and to random bits r; then the beacon is drawn; then the
public bits b follow from it, z from r + b, and u = g + z is published with a proof. Constraints: RELEASE.md.
What is not proven: that g is a good gradient, or that r was kept secret.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import noise as noisy
from intertwine.zk.circuit import Circuit, Gate, Lookup
from intertwine.zk.expression import Cell, total
from intertwine.zk.instance import Instance, numbered
from intertwine.zk.noise import LIMB_BITS, LIMBS, MAX_DIMENSION, RANGE, NoiseOpening
from intertwine.zk.prover import Progress, Witness
from intertwine.zk.randomness import Randomness
from intertwine.zk.sampler import SIGMAS
from intertwine.zk.verifier import proof_size as circuit_proof_size

MAX_ENTRY = 1 << 20
"""Entries of gradients are below this in absolute value, those of updates below twice this."""

MAX_NORM_BOUND = 1 << 27
"""Its square fits into the five limbs that hold what the norm leaves of it."""

CHECKS = numbered(
    ("sigma_supported", "there is a sampler for sigma"),
    ("norm_bound_range", "the norm bound is an integer from 1 to 2^27"),
    ("update_encoding", "the update is a vector of 1 to 131072 signed 64-bit integers"),
    ("update_range", "every entry of the update is below 2^21 in absolute value"),
    (
        "commitment_count",
        "there is one commitment to the gradient per page, to randomness per page and level",
    ),
    ("threshold_table", "the threshold table has the pinned digest"),
)


@dataclass(frozen=True)
class Commitments:
    """Compressed G1 points of 48 bytes: one a page and level for the random bits, one a page for g."""

    randomness: tuple[bytes, ...]
    gradient: tuple[bytes, ...]


class Opening:
    """The secret behind `commitments`: vector, random bits and blinding rows, all from seed and vector."""

    def __init__(
        self, gradient: NDArray[np.int64], sigma: int, seed: bytes, proven: Collection[bytes]
    ) -> None:
        self.gradient = gradient
        # Vector and σ key the seed: the same seed with another of them shares no randomness.
        source = Randomness(b"release", seed, sigma.to_bytes(8, "little"), gradient.astype("<i8").tobytes())
        self.noise = NoiseOpening(len(gradient), sigma, source.stream("noise", 32), proven)
        self.columns = {
            name: noisy.blinded_column(name, rows, source)
            for name, rows in noisy.page_columns("g", gradient.tolist()).items()
        }
        self.commitments = Commitments(self.noise.commitments, noisy.commit_columns(self.columns.values()))

    def __repr__(self) -> str:
        return f"Opening(dimension={len(self.gradient)}, sigma={self.noise.sigma}, secrets hidden)"


@dataclass(frozen=True, eq=False)
class ReleaseStatement:
    """What is proven, and about whom.

    context: canonical bytes of everything else that is bound (deployment, task, model digest, round,
    participant and its key, adjacency, beacon mode, …); beacon, slot: 32 bytes; sigma: one of SIGMAS;
    norm_bound: C in integer steps; update: u, shape (d,), int64, |entries| < 2^21.
    """

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    norm_bound: int
    commitments: Commitments
    update: NDArray[np.int64]


def commit(gradient: NDArray[np.int64], sigma: int, seed: bytes, proven: Collection[bytes] = ()) -> Opening:
    """Fix a vector and its future noise.

    gradient: shape (d,), int64, |entries| < 2^20; seed: 32 secret bytes, fresh for every commitment; proven:
    see NoiseOpening. Raises InputError.
    """
    noisy.require_32_bytes("seed", seed)
    try:
        noisy.check_sigma(sigma)
        noisy.check_vector("gradient", gradient, MAX_ENTRY)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    return Opening(gradient.copy(), sigma, seed, proven)


def noise(opening: Opening, beacon: bytes, slot: bytes) -> NDArray[np.int64]:
    """The noise z, shape (d,), that commitment and beacon determine."""
    return opening.noise.noise(beacon, slot)


def prove(statement: ReleaseStatement, opening: Opening, progress: Progress | None = None) -> bytes:
    """Prove a release; the same statement gives the same bytes.

    progress: called with the fraction done. Raises InputError if the statement is not true of the opening, or
    if it would be the fourth distinct one proven with it.
    """
    try:
        instance = instance_of(statement)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    _refuse_false_statement(statement, opening)
    opening.noise.register(instance.transcript().digest())
    return instance.prove(witness_of(statement, opening), progress)


def prove_unchecked(statement: ReleaseStatement, opening: Opening) -> bytes:
    """Prove a statement that may be false. For tests and fault injection only: `verify` refuses it."""
    return instance_of(statement).prover(witness_of(statement, opening)).prove()


def verify(statement: ReleaseStatement, proof: bytes) -> None:
    """Verify a release by the numbered CHECKS, in their order; VerificationError names the first that fails.

    Does not check where the beacon comes from, that the commitments are older than it, or that they are new:
    those are checks of the log.
    """
    instance_of(statement).verify(proof)


def proof_size(dimension: int, sigma: int = SIGMAS[0]) -> int:
    """Exact length in bytes of a proof for vectors of this dimension; InputError outside 1..MAX_DIMENSION."""
    if not 1 <= dimension <= MAX_DIMENSION:
        raise InputError(f"dimension is {dimension}.", f"It must be from 1 to {MAX_DIMENSION}.")
    return circuit_proof_size(release_circuit(sigma, dimension, 1))


@lru_cache(maxsize=16)
def release_circuit(sigma: int, dimension: int, norm_bound: int) -> Circuit:
    """u = g + z, ‖g‖₂ ≤ norm_bound, z from r + b mod 2^B, for committed r and g and public u and b."""
    pages = range(len(noisy.page_sizes(dimension)))
    slack = Cell("slack")
    squares = total([Cell(f"g[{page}]") * Cell(f"g[{page}]") for page in pages])
    norm = squares + Cell("slack_weight") * slack - norm_bound**2 * Cell("row_first")
    return Circuit(
        name=f"release sigma={sigma} dimension={dimension} norm_bound={norm_bound}",
        committed=(*noisy.randomness_names(dimension, sigma), *(f"g[{page}]" for page in pages)),
        linear=(),
        witness=(*noisy.noise_witness_names(dimension, sigma), "slack"),
        late=(),
        gates=tuple(noisy.noise_gates(dimension, sigma)),
        lookups=(*noisy.noise_lookups(dimension, sigma), Lookup("slack", RANGE, (slack,))),
        sums=(Gate("norm", norm),),
    ).check_shape()


def instance_of(statement: ReleaseStatement) -> Instance:
    """The statement's instance, after checks 1 to 6 and those of the commitments' encoding."""
    update, sigma = statement.update, statement.sigma
    noisy.check_public(statement.context, statement.beacon, statement.slot, sigma)
    if type(statement.norm_bound) is not int or not 1 <= statement.norm_bound <= MAX_NORM_BOUND:
        raise VerificationError("norm_bound_range", f"the norm bound is {statement.norm_bound}.")
    noisy.check_vector("update", update, 2 * MAX_ENTRY)
    circuit = release_circuit(sigma, len(update), statement.norm_bound)
    randomness, gradient = statement.commitments.randomness, statement.commitments.gradient
    noisy.check_count(randomness, noisy.noise_pages(len(update), sigma))
    noisy.check_count(gradient, len(noisy.page_sizes(len(update))))
    committed = noisy.decode_commitments(circuit.committed, (*randomness, *gradient))
    inputs = (
        ("context", statement.context),
        ("beacon", statement.beacon),
        ("slot", statement.slot),
        ("sigma", sigma),
        ("norm_bound", statement.norm_bound),
        ("dimension", len(update)),
        ("randomness", randomness),
        ("gradient", gradient),
        ("update", hashlib.sha256(update.astype("<i8").tobytes()).digest()),
    )
    columns = noisy.noise_public(statement.beacon, statement.slot, update, sigma)
    columns["slack_weight"] = [1 << (LIMB_BITS * limb) for limb in range(LIMBS)]
    return Instance(circuit, inputs, committed, lambda challenges: columns)


def witness_of(statement: ReleaseStatement, opening: Opening) -> Witness:
    """The columns that satisfy the statement if ‖g‖₂ ≤ C and the update is gradient + noise."""
    room = statement.norm_bound**2 - int(opening.gradient @ opening.gradient)
    slack = noisy.split(np.array([max(room, 0)]))
    return Witness(
        committed={**opening.noise.columns, **opening.columns},
        early={
            **noisy.noise_witness(opening.noise, statement.beacon, statement.slot),
            "slack": [int(limb[0]) for limb in slack],
        },
        secrets=(*opening.noise.secrets, opening.gradient.astype("<i8").tobytes()),
    )


def _refuse_false_statement(statement: ReleaseStatement, opening: Opening) -> None:
    """InputError unless u = g + z and ‖g‖ ≤ C for this opening."""
    if statement.commitments != opening.commitments or statement.sigma != opening.noise.sigma:
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
