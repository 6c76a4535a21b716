"""The verifier: parses a proof, replays the transcript, and checks one identity and one pairing equation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from py_arkworks_bls12381 import GT, G1Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import domain, field, kzg
from intertwine.zk.circuit import CHUNKS, Circuit, common_columns
from intertwine.zk.expression import Cell, Challenge
from intertwine.zk.field import MODULUS, SCALAR_BYTES
from intertwine.zk.kzg import POINT_BYTES
from intertwine.zk.reference_string import ReferenceString
from intertwine.zk.transcript import Transcript

_OPENINGS = 2


@dataclass(frozen=True)
class _Proof:
    """A parsed proof; every scalar is canonical and every point passed `decode_point`."""

    columns: dict[str, G1Point]
    chunks: list[G1Point]
    here: list[int]
    following: list[int]
    openings: list[G1Point]


@dataclass(frozen=True)
class _Challenges:
    by_name: dict[str, int]
    zeta: int
    v: int
    rho: int


def proof_size(circuit: Circuit) -> int:
    """Exact length of a proof in bytes."""
    points = len(_sent_columns(circuit)) + CHUNKS + _OPENINGS
    return POINT_BYTES * points + SCALAR_BYTES * _scalar_count(circuit)


def verify(
    circuit: Circuit,
    reference_string: ReferenceString,
    public: Mapping[str, Sequence[int]],
    committed: Mapping[str, G1Point],
    transcript: Transcript,
    proof: bytes,
) -> None:
    """Check a proof; raises VerificationError with the name of the check that failed.

    public: the circuit's public columns, computed by the caller; committed: the decoded commitments of the
    statement; transcript: has absorbed the statement. What the columns mean is the caller's business.
    """
    if len(proof) != proof_size(circuit):
        raise VerificationError(
            "proof_length", f"the proof has {len(proof)} bytes instead of {proof_size(circuit)}."
        )
    parsed = _parse(circuit, proof)
    challenges = _replay(circuit, transcript, proof)
    try:
        value = _gates_at(circuit, public, parsed, challenges)
    except ZeroDivisionError as error:  # a challenge hit the domain or a table: probability below 2^-230
        raise VerificationError("constraint_identity", "a challenge is degenerate.") from error
    if value != domain.vanishing_at(challenges.zeta) * parsed.here[-1] % MODULUS:
        raise VerificationError(
            "constraint_identity", "the opened values do not satisfy the statement's constraints."
        )
    if not _openings_hold(circuit, reference_string, {**committed, **parsed.columns}, parsed, challenges):
        raise VerificationError("opening_pairing", "the opened values do not belong to the commitments.")


def _sent_columns(circuit: Circuit) -> tuple[str, ...]:
    return (*circuit.witness, *circuit.multiplicities, *circuit.helpers)


def _scalar_count(circuit: Circuit) -> int:
    """Each column and the quotient at ζ, rotated columns at the next row."""
    return len(circuit.columns) + 1 + len(circuit.rotated)


def _parse(circuit: Circuit, proof: bytes) -> _Proof:
    """Points of columns and chunks, then scalars, then the two openings' points."""
    split = POINT_BYTES * (len(_sent_columns(circuit)) + CHUNKS)
    end = len(proof) - POINT_BYTES * _OPENINGS
    try:
        points = iter([kzg.decode_point(part) for part in _slices(proof[:split] + proof[end:], POINT_BYTES)])
    except ValueError as error:
        raise VerificationError("point_encoding", f"a point of the proof is invalid: {error}.") from error
    try:
        scalars = [field.decode(part) for part in _slices(proof[split:end], SCALAR_BYTES)]
    except ValueError as error:
        raise VerificationError("scalar_canonical", f"a scalar of the proof is invalid: {error}.") from error
    return _Proof(
        columns=dict(zip(_sent_columns(circuit), points, strict=False)),
        chunks=list(islice(points, CHUNKS)),
        here=scalars[: len(circuit.columns) + 1],
        following=scalars[len(circuit.columns) + 1 :],
        openings=list(points),
    )


def _replay(circuit: Circuit, transcript: Transcript, proof: bytes) -> _Challenges:
    """Absorb the proof in order and draw each challenge where the prover had to."""
    position = 0

    def absorb(label: str, size: int, count: int) -> None:
        nonlocal position
        for part in _slices(proof[position : position + size * count], size):
            transcript.absorb(label, part)
        position += size * count

    absorb("commitment", POINT_BYTES, len(circuit.witness) + len(circuit.multiplicities))
    by_name = {name: transcript.challenge(name) for name in ("alpha", "beta")}
    absorb("commitment", POINT_BYTES, len(circuit.helpers))
    by_name["gamma"] = transcript.challenge("gamma")
    absorb("commitment", POINT_BYTES, CHUNKS)
    zeta = transcript.challenge("zeta")
    absorb("evaluation", SCALAR_BYTES, _scalar_count(circuit))
    v = transcript.challenge("v")
    absorb("opening", POINT_BYTES, _OPENINGS)
    return _Challenges(by_name, zeta, v, transcript.challenge("rho"))


def _gates_at(
    circuit: Circuit, public: Mapping[str, Sequence[int]], proof: _Proof, challenges: _Challenges
) -> int:
    """Σ γ^k · selector · gate at ζ; public columns are evaluated here, never taken from the proof."""
    tables = circuit.inverse_tables(challenges.by_name["alpha"], challenges.by_name["beta"])
    lagrange = domain.lagrange_at(challenges.zeta)
    known = {**common_columns(), **public, **tables}
    cells = {Cell(name): field.inner_product(rows, lagrange) for name, rows in known.items()}
    cells |= {Cell(name): value for name, value in zip(circuit.columns, proof.here, strict=False)}
    cells |= {Cell(name, 1): value for name, value in zip(circuit.rotated, proof.following, strict=True)}

    def leaf(node: Cell | Challenge) -> Any:
        value = challenges.by_name[node.name] if isinstance(node, Challenge) else cells[node]
        return field.element(value)

    result = field.element(0)
    for gate in reversed(circuit.gates):
        result *= field.element(challenges.by_name["gamma"])
        result += leaf(Cell(gate.selector)) * gate.expression.evaluate(leaf)
    return int(result)


def _openings_hold(
    circuit: Circuit,
    reference_string: ReferenceString,
    commitments: Mapping[str, G1Point],
    proof: _Proof,
    challenges: _Challenges,
) -> bool:
    """e(F₁ - y₁ + ζ·W₁ + ρ·(F₂ - y₂ + ζω·W₂), [1]₂) = e(W₁ + ρ·W₂, [τ]₂)."""
    rho, zeta = challenges.rho, challenges.zeta
    step = pow(zeta, domain.SIZE - 1, MODULUS)
    here, following = _powers(challenges.v, len(proof.here)), _powers(challenges.v, len(proof.following))
    values = field.inner_product(proof.here, here) + rho * field.inner_product(proof.following, following)
    weights = dict(zip(circuit.columns, here, strict=False))
    for name, power in zip(circuit.rotated, following, strict=True):
        weights[name] += rho * power
    points = [*(commitments[name] for name in weights), *proof.chunks, *proof.openings, G1Point()]
    scalars = [
        *weights.values(),
        *(here[-1] * power for power in _powers(step, CHUNKS)),
        zeta,
        rho * zeta * domain.OMEGA,
        -values,
    ]
    left = kzg.multiexp(points, scalars)
    right = kzg.multiexp(proof.openings, [1, rho])
    return bool(GT.pairing_check([left, -right], [reference_string.g2, reference_string.g2_tau]))


def _powers(base: int, count: int) -> list[int]:
    return [pow(base, index, MODULUS) for index in range(count)]


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
