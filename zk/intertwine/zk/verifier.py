"""The verifier: parses a proof, replays the transcript, and checks one identity and one pairing equation.

`prepare` does everything up to the pairing; `pairings_hold` checks any number of prepared proofs at once.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from py_arkworks_bls12381 import GT, G1Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import domain, field, kzg
from intertwine.zk.circuit import CHUNKS, END, FIRST, SUM, Challenges, Circuit
from intertwine.zk.expression import Cell, Challenge
from intertwine.zk.field import MODULUS, SCALAR_BYTES
from intertwine.zk.kzg import POINT_BYTES
from intertwine.zk.reference_string import ReferenceString
from intertwine.zk.transcript import Transcript

_OPENINGS = 2

Columns: TypeAlias = Mapping[str, Sequence[int]]
Combination: TypeAlias = tuple[Sequence[G1Point], Sequence[int]]
"""A linear column's commitment: points and their factors."""


@dataclass(frozen=True)
class Pairing:
    """What is left to check of a proof: e(left, [1]) = e(right, [τ]), both given as sums of multiples."""

    left: Combination
    right: Combination


@dataclass(frozen=True)
class _Proof:
    """A parsed proof; every scalar is canonical and every point passed `decode_point`."""

    columns: dict[str, G1Point]
    chunks: list[G1Point]
    values: dict[str, int]
    linear: int
    following_sum: int
    openings: list[G1Point]


def proof_size(circuit: Circuit) -> int:
    """Exact length of a proof in bytes."""
    points = len(circuit.early) + len(circuit.after) + CHUNKS + _OPENINGS
    return POINT_BYTES * points + SCALAR_BYTES * (len(circuit.columns) + 2)


def prepare(
    circuit: Circuit,
    public: Callable[[Challenges], Columns],
    committed: Mapping[str, G1Point],
    linear: Callable[[Challenges], Mapping[str, Combination]],
    transcript: Transcript,
    proof: bytes,
) -> Pairing:
    """Check everything of a proof but the pairing; VerificationError names the check that failed.

    public: the circuit's public columns, computed by the caller; committed: the decoded commitments of the
    statement; linear: those of the linear columns; transcript: has absorbed the statement. What the columns
    mean is the caller's business.
    """
    if not isinstance(proof, bytes) or len(proof) != proof_size(circuit):
        raise VerificationError("proof_length", f"the proof is not a string of {proof_size(circuit)} bytes.")
    parsed = _parse(circuit, proof)
    challenges = _replay(circuit, transcript, proof)
    try:
        constant, factors = _identity(circuit, public(challenges), parsed, challenges)
    except ZeroDivisionError as error:  # a challenge hit the domain or a table: probability below 2^-230
        raise VerificationError("constraint_identity", "a challenge is degenerate.") from error
    if (constant + parsed.linear) % MODULUS:
        raise VerificationError(
            "constraint_identity", "the opened values do not satisfy the statement's constraints."
        )
    combinations = linear(challenges)
    hidden = [(combinations[name], factor) for name, factor in factors.items()]
    return _pairing(circuit, {**committed, **parsed.columns}, hidden, parsed, challenges)


def pairings_hold(reference_string: ReferenceString, pairings: Sequence[Pairing]) -> bool:
    """Whether all hold: one pairing check of a random combination (error below 2^-127 for more than one)."""
    weights = [1, *(secrets.randbits(128) for _ in pairings[1:])]
    left = _weighted([pairing.left for pairing in pairings], weights)
    right = _weighted([pairing.right for pairing in pairings], weights)
    return bool(GT.pairing_check([left, -right], [reference_string.g2, reference_string.g2_tau]))


def _weighted(combinations: Sequence[Combination], weights: Sequence[int]) -> G1Point:
    points = [point for some, _ in combinations for point in some]
    factors = [
        weight * factor for (_, some), weight in zip(combinations, weights, strict=True) for factor in some
    ]
    return kzg.multiexp(points, factors)


def _parse(circuit: Circuit, proof: bytes) -> _Proof:
    """Points of columns and chunks, then scalars, then the two openings' points."""
    sent = (*circuit.early, *circuit.after)
    split = POINT_BYTES * (len(sent) + CHUNKS)
    end = len(proof) - POINT_BYTES * _OPENINGS
    try:
        points = iter([kzg.decode_point(part) for part in _slices(proof[:split] + proof[end:], POINT_BYTES)])
    except ValueError as error:
        raise VerificationError("point_encoding", f"a point of the proof is invalid: {error}.") from error
    try:
        *values, linear, following_sum = (
            field.decode(part) for part in _slices(proof[split:end], SCALAR_BYTES)
        )
    except ValueError as error:
        raise VerificationError("scalar_canonical", f"a scalar of the proof is invalid: {error}.") from error
    return _Proof(
        columns=dict(zip(sent, points, strict=False)),
        chunks=list(islice(points, CHUNKS)),
        values=dict(zip(circuit.columns, values, strict=True)),
        linear=linear,
        following_sum=following_sum,
        openings=list(points),
    )


def _replay(circuit: Circuit, transcript: Transcript, proof: bytes) -> dict[str, int]:
    """Absorb the proof in order and draw each challenge where the prover had to."""
    position = 0
    challenges: dict[str, int] = {}

    def absorb(label: str, size: int, count: int, *draw: str) -> None:
        nonlocal position
        for part in _slices(proof[position : position + size * count], size):
            transcript.absorb(label, part)
        position += size * count
        challenges.update((name, transcript.challenge(name)) for name in draw)

    absorb("commitment", POINT_BYTES, len(circuit.early), "alpha", "beta", "theta", "kappa")
    absorb("commitment", POINT_BYTES, len(circuit.after), "gamma")
    absorb("commitment", POINT_BYTES, CHUNKS, "zeta")
    absorb("evaluation", SCALAR_BYTES, len(circuit.columns) + 2, "v")
    absorb("opening", POINT_BYTES, _OPENINGS, "rho")
    return challenges


def _identity(
    circuit: Circuit, public: Columns, proof: _Proof, challenges: Challenges
) -> tuple[int, dict[str, int]]:
    """K and the factors k_c of the linear columns in N(ζ), public columns evaluated here."""
    zeta, gamma = challenges["zeta"], challenges["gamma"]
    evaluate = domain.Evaluator(zeta)
    values = {name: evaluate(rows) for name, rows in public.items()} | proof.values
    values |= {FIRST: evaluate.row(0), END: evaluate.row(domain.DATA_ROWS)}
    for name, denominators in circuit.table_denominators(challenges["alpha"], challenges["beta"]).items():
        values[name] = evaluate.inverses(denominators)

    def leaf(node: Cell | Challenge) -> int:
        if isinstance(node, Challenge):
            return challenges[node.name]
        return proof.following_sum if node.rotation else values.get(node.column, 0)

    blinding = domain.blinding_vanishing_at(zeta)
    total, power = 0, 1
    for _, value in circuit.data_gates(leaf):
        total = (total + power * value) % MODULUS
        power = power * gamma % MODULUS
    total *= blinding
    for gate in circuit.boundary_gates():
        total += power * gate.expression.evaluate(leaf)
        power = power * gamma % MODULUS
    factors = circuit.linear_coefficients(leaf, gamma)
    return total % MODULUS, {name: blinding * factor % MODULUS for name, factor in factors.items()}


def _pairing(
    circuit: Circuit,
    commitments: Mapping[str, G1Point],
    hidden: Sequence[tuple[Combination, int]],
    proof: _Proof,
    challenges: Challenges,
) -> Pairing:
    """F₁ - y₁ + ζ·W₁ + ρ·(F₂ - y₂ + ωζ·W₂) against W₁ + ρ·W₂."""
    rho, zeta = challenges["rho"], challenges["zeta"]
    *weights, last = field.powers(challenges["v"], len(circuit.columns) + 1)
    value = field.inner_product(proof.values.values(), weights) + last * proof.linear
    value += rho * proof.following_sum
    points = [commitments[name] for name in circuit.columns]
    weights[circuit.columns.index(SUM)] += rho
    for (some, factors), factor in hidden:
        points += some
        weights += [last * factor * each % MODULUS for each in factors]
    steps = field.powers(pow(zeta, domain.SIZE - 1, MODULUS), CHUNKS)
    points += [*proof.chunks, *proof.openings, G1Point()]
    weights += [-last * domain.vanishing_at(zeta) * step for step in steps]
    weights += [zeta, rho * zeta * domain.OMEGA, -value]
    return Pairing((points, weights), (proof.openings, [1, rho]))


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
