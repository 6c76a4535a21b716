"""The argument (`ARGUMENT.md`): a statement and a proof, down to one scalar and one pairing equation."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent import curve, domain
from intertwine.zk.independent.circuit import Circuit, Combination, Statement
from intertwine.zk.independent.domain import MODULUS
from intertwine.zk.independent.identity import Challenges, numerator
from intertwine.zk.independent.messages import SCALAR_BYTES, Proof, decode_points
from intertwine.zk.independent.transcript import Transcript

PROTOCOL = "intertwine/zk/2"
REFERENCE_STRING = "5aefd83bf05f874e9fde509c79d03ee4af53ede1fa15d1a61af3313d7ffae24c"


def verify(statement: Statement, proof: bytes) -> None:
    """Check a proof of a statement whose public inputs are known to be in their ranges.

    VerificationError with check threshold_table, reference_string, proof_length, point_encoding,
    scalar_canonical, constraint_identity or opening_pairing, the first that fails.
    """
    circuit = Circuit.of(statement)
    _reference_string()
    points = decode_points(statement.points)
    messages = Proof.parse(circuit, proof)
    points |= decode_points(messages.points)
    messages.check_scalars()
    challenges = _challenges(circuit, messages)
    linear_terms = _linear_terms(circuit, messages, challenges)
    if not _openings_hold(circuit, messages, challenges, linear_terms, points):
        raise VerificationError("opening_pairing", "the opened values do not belong to the commitments.")


@lru_cache(maxsize=1)
def _reference_string() -> tuple[bytes, bytes]:
    """[1] and [τ] in G2. The digest is checked; that the points are consistent, `PROVENANCE.md` tells."""
    data = resources.files("intertwine.zk").joinpath("reference_string.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != REFERENCE_STRING:
        raise VerificationError("reference_string", "the reference string does not have the pinned digest.")
    return data[-192:-96], data[-96:]


def _challenges(circuit: Circuit, proof: Proof) -> Challenges:
    """Replay the transcript (section 3)."""
    transcript = Transcript()
    transcript.absorb("protocol", PROTOCOL)
    transcript.absorb("circuit", circuit.digest())
    transcript.absorb("reference_string", bytes.fromhex(REFERENCE_STRING))
    for label, value in circuit.statement.inputs:
        transcript.absorb(label, value)
    evaluations = [value.to_bytes(SCALAR_BYTES, "little") for value in proof.evaluations]
    challenges: list[int] = []
    for label, messages, names in (
        ("commitment", proof.first, ("alpha", "beta", "theta", "kappa")),
        ("commitment", proof.second, ("gamma",)),
        ("commitment", proof.chunks, ("zeta",)),
        ("evaluation", evaluations, ("v",)),
        ("opening", proof.openings, ("rho",)),
    ):
        for message in messages:
            transcript.absorb(label, message)
        challenges += [transcript.challenge(name) for name in names]
    return Challenges(*challenges)


def _linear_terms(circuit: Circuit, proof: Proof, challenges: Challenges) -> Combination:
    """Check the identity K + ℓ = 0; return the commitment to L (section 4)."""
    total = numerator(circuit, proof, challenges)
    if (total.constant + proof.linear) % MODULUS:
        raise VerificationError("constraint_identity", "the opened values do not satisfy the constraints.")
    columns = [
        (total.factors.get(name, 0) * factor, encoding)
        for name, combination in circuit.statement.linear(challenges.theta).items()
        for factor, encoding in combination
    ]
    scale = -domain.vanishing(challenges.zeta)
    step = pow(challenges.zeta, domain.ROWS - 1, MODULUS)
    chunks = [(scale * pow(step, j, MODULUS), encoding) for j, encoding in enumerate(proof.chunks)]
    return [*columns, *chunks]


def _openings_hold(
    circuit: Circuit,
    proof: Proof,
    challenges: Challenges,
    linear_terms: Combination,
    points: Mapping[bytes, curve.Point],
) -> bool:
    """The pairing equation (section 4)."""
    zeta, v, rho = challenges.zeta, challenges.v, challenges.rho
    first, second = proof.openings
    terms: Combination = [(zeta, first), (rho * domain.OMEGA * zeta, second)]
    power, value = 1, 0
    commitments = [*circuit.statement.committed.values(), *proof.first, *proof.second]
    for encoding, opened in zip(commitments, proof.values.values(), strict=True):
        terms.append((power, encoding))
        value += power * opened
        power = power * v % MODULUS
    terms += [(power * factor, encoding) for factor, encoding in linear_terms]
    terms.append((rho, proof.second[-1]))
    value += power * proof.linear + rho * proof.next_sum
    left = curve.add(_combine(terms, points), curve.combine([curve.GENERATOR], [-value]))
    right = _combine([(1, first), (rho, second)], points)
    return curve.pairings_cancel(left, right, *_reference_string())


def _combine(terms: Combination, points: Mapping[bytes, curve.Point]) -> curve.Point:
    """Σ factor·point; several terms may name one point."""
    factors: dict[bytes, int] = defaultdict(int)
    for factor, encoding in terms:
        factors[encoding] += factor
    return curve.combine([points[encoding] for encoding in factors], list(factors.values()))
