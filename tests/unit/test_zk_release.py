"""The release statement from commitment to verdict: what is proven, what is refused, what stays hidden."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import commitment, kzg, reference_string, release
from intertwine.zk.commitment import Commitments, Opening
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS, SIZE
from intertwine.zk.prover import Prover
from intertwine.zk.release import CHECKS, ReleaseStatement
from intertwine.zk.release_circuit import release_circuit

BEACON, SLOT = b"beacon".ljust(32), b"slot".ljust(32)
SEED = b"seed".ljust(32)
NORM_BOUND = 3000


def make_gradient(dimension: int) -> NDArray[np.int64]:
    return np.random.default_rng(dimension).integers(-40, 41, dimension, dtype=np.int64)


def make_statement(
    opening: Opening, context: bytes = b"context", norm_bound: int = NORM_BOUND
) -> ReleaseStatement:
    update = opening.gradient + release.noise(opening, BEACON, SLOT)
    return ReleaseStatement(context, BEACON, SLOT, opening.sigma, norm_bound, opening.commitments, update)


@pytest.mark.parametrize(
    ("dimension", "sigma"), [(1, 50), (57, 400), (1000, 200), (DATA_ROWS, 100), (DATA_ROWS + 1, 50)]
)
def test_prove_and_verify(dimension: int, sigma: int) -> None:
    opening = release.commit(make_gradient(dimension), sigma, SEED)
    statement = make_statement(opening)
    fractions: list[float] = []
    proof = release.prove(statement, opening, fractions.append)
    assert len(proof) == release.proof_size(dimension)
    assert fractions[-1] == 1.0 and fractions == sorted(fractions)
    release.verify(statement, proof)
    altered = replace(statement, norm_bound=NORM_BOUND + 1)
    with pytest.raises(VerificationError) as refused:
        release.verify(altered, proof)
    assert refused.value.check == "constraint_identity"


def test_norm_exactly_at_the_bound() -> None:
    opening = release.commit(np.array([3, -4], dtype=np.int64), 50, SEED)
    statement = make_statement(opening, norm_bound=5)
    release.verify(statement, release.prove(statement, opening))
    with pytest.raises(InputError, match="longer than the norm bound"):
        release.prove(make_statement(opening, norm_bound=4), opening)


def test_randomness_that_is_not_random_verifies() -> None:
    """A documented limit: with r = 0 anyone can compute the noise; keeping r secret is the owner's task."""
    opening = release.commit(make_gradient(20), 50, SEED)
    opening.random_bits = np.zeros(20, dtype=np.uint64)
    opening.columns["r[0]"] = [*[0] * (SIZE - BLINDING_ROWS), *opening.columns["r[0]"][-BLINDING_ROWS:]]
    point = kzg.commit_column(reference_string.load().lagrange, opening.columns["r[0]"])
    opening.commitments = Commitments((kzg.encode_point(point),), opening.commitments.gradient)
    statement = make_statement(opening)
    release.verify(statement, release.prove(statement, opening))


def test_prove_refuses_a_false_update() -> None:
    opening = release.commit(make_gradient(20), 50, SEED)
    statement = make_statement(opening)
    wrong = statement.update.copy()
    wrong[3] += 1
    with pytest.raises(InputError, match="not gradient plus noise"):
        release.prove(replace(statement, update=wrong), opening)
    with pytest.raises(InputError, match="not gradient plus noise"):
        release.prove(replace(statement, update=wrong[:-1]), opening)
    other = release.commit(make_gradient(20), 50, b"other".ljust(32))
    with pytest.raises(InputError, match="other commitments"):
        release.prove(statement, other)
    with pytest.raises(InputError, match="below 2\\^20"):
        release.prove(replace(statement, update=statement.update + 2**20), opening)
    assert not opening.proven and not other.proven


def test_prove_never_returns_a_proof_that_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prover's own look at the constraints, behind the plain comparison of update, vector and noise."""
    monkeypatch.setattr(release, "_refuse_false_statement", lambda statement, opening: None)
    opening = release.commit(make_gradient(20), 50, SEED)
    statement = make_statement(opening)
    with pytest.raises(InputError, match="does not satisfy"):
        release.prove(replace(statement, update=statement.update + 1), opening)


def test_prove_unchecked_makes_a_proof_that_verify_refuses() -> None:
    opening = release.commit(make_gradient(20), 50, SEED)
    noise = release.noise(opening, BEACON, SLOT)
    statement = replace(
        make_statement(opening), update=opening.gradient + np.round(noise / 2).astype(np.int64)
    )
    proof = release.prove_unchecked(statement, opening)
    assert len(proof) == release.proof_size(20)
    with pytest.raises(VerificationError) as refused:
        release.verify(statement, proof)
    assert refused.value.check == "constraint_identity"


def test_same_retry_gives_identical_bytes() -> None:
    first = release.commit(make_gradient(20), 50, SEED)
    again = release.commit(make_gradient(20), 50, SEED)
    assert first.commitments == again.commitments
    statement = make_statement(first)
    proof = release.prove(statement, first)
    assert release.prove(statement, first) == proof
    assert release.prove(make_statement(again), again) == proof
    assert len(first.proven) == 1


def test_randomness_depends_on_seed_vector_and_sigma() -> None:
    gradient = make_gradient(20)
    openings = [
        release.commit(gradient, 50, SEED),
        release.commit(gradient, 50, b"other".ljust(32)),
        release.commit(gradient + 1, 50, SEED),
        release.commit(gradient, 100, SEED),
    ]
    for left, right in combinations(openings, 2):
        assert not np.any(left.random_bits == right.random_bits)
        assert left.columns["g[0]"][-1] != right.columns["g[0]"][-1]


def test_fourth_distinct_proof_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prover, "prove", lambda prover: setattr(prover, "satisfied", True) or b"proof")
    opening = release.commit(make_gradient(20), 50, SEED)
    statements = [make_statement(opening, bytes([index])) for index in range(4)]
    for statement in (*statements[:3], *statements[:3]):
        release.prove(statement, opening)
    with pytest.raises(InputError, match="3 distinct proofs"):
        release.prove(statements[3], opening)
    with pytest.raises(InputError, match="3 distinct proofs"):
        release.prove_unchecked(statements[3], opening)
    restarted = release.commit(make_gradient(20), 50, SEED, proven=opening.proven)
    release.prove(statements[0], restarted)
    with pytest.raises(InputError, match="3 distinct proofs"):
        release.prove(statements[3], restarted)


def test_blinding() -> None:
    """Every column ends in rows that no other column has, and chunks carry their blinders."""

    class Kept(Prover):
        def blind_chunks(self, quotient: object) -> list[object]:
            self.quotient, self.kept = quotient, super().blind_chunks(quotient)
            return self.kept

    opening = release.commit(make_gradient(20), 50, SEED)
    prover = release._prover(make_statement(opening), opening, make=Kept)
    prover.prove()
    columns = [prover.rows[name] for name in prover.circuit.columns]
    blinding = [value for column in columns for value in column[1 - BLINDING_ROWS :]]
    assert len(columns) == 24 and len(set(blinding)) == len(blinding) == 6 * 24
    assert all(value > 2**200 for value in blinding)
    assert len({column[4089] for column in columns}) == 24

    chunks, length = prover.kept, SIZE - 1
    first, second = int(chunks[0][length]), int(chunks[1][length])
    assert min(first, second) > 2**200 and first != second and chunks[2].degree() < length
    for index, (chunk, blinder) in enumerate(zip(chunks, (0, first, second), strict=True)):
        part = prover.quotient.right_shift(index * length).truncate(length)
        assert chunk.truncate(length) == part - blinder
    shifted = [chunk.left_shift(index * length) for index, chunk in enumerate(chunks)]
    assert sum(shifted[1:], start=shifted[0]) == prover.quotient


def test_blinding_rows_outnumber_openings() -> None:
    """A proof opens a column at ζ, a rotated one at the next row too; a commitment is one more equation."""
    circuit = release_circuit(50, 5000, 10)
    assert set(circuit.rotated) == {"norm", "lookup_sum"}
    assert commitment.MAX_PROOFS + 1 <= BLINDING_ROWS
    openings_of_rotated, rows_of_sum = 3, BLINDING_ROWS - 1  # the sum ends on the row below the closing one
    assert openings_of_rotated <= rows_of_sum
    assert not set(circuit.rotated) & set(circuit.committed)


def test_opening_shows_no_secret() -> None:
    opening = release.commit(make_gradient(3), 50, SEED)
    assert repr(opening) == str(opening) == "Opening(dimension=3, sigma=50, secrets hidden)"


def test_public_randomness() -> None:
    bits = release.public_randomness(BEACON, SLOT, DATA_ROWS + 3, 50)
    assert bits.shape == (DATA_ROWS + 3,) and bits.dtype == np.uint64 and int(bits.max()) < 2**61
    assert np.array_equal(bits[:10], release.public_randomness(BEACON, SLOT, 10, 50))
    assert not np.any(bits[:3] == bits[DATA_ROWS:])
    assert not np.any(bits == release.public_randomness(SLOT, BEACON, DATA_ROWS + 3, 50))
    assert int(release.public_randomness(BEACON, SLOT, DATA_ROWS, 400).max()) >= 2**63


@pytest.mark.parametrize(
    ("problem", "gradient", "sigma", "seed"),
    [
        ("sigma is 51", np.zeros(3, dtype=np.int64), 51, SEED),
        ("seed is not", np.zeros(3, dtype=np.int64), 50, SEED[:-1]),
        ("seed is not", np.zeros(3, dtype=np.int64), 50, "s" * 32),
        ("gradient is not a vector", np.zeros(3), 50, SEED),
        ("gradient is not a vector", np.zeros(0, dtype=np.int64), 50, SEED),
        ("gradient is not a vector", [1, 2], 50, SEED),
        ("entry of the gradient", np.array([2**20]), 50, SEED),
    ],
)
def test_commit_refuses(problem: str, gradient: NDArray[np.int64], sigma: int, seed: bytes) -> None:
    with pytest.raises(InputError, match=problem):
        release.commit(gradient, sigma, seed)


@pytest.mark.parametrize("change", [{"beacon": b"short"}, {"slot": b"s" * 33}, {"context": "text"}])
def test_statement_refuses(change: dict[str, object]) -> None:
    opening = release.commit(make_gradient(3), 50, SEED)
    with pytest.raises(InputError):
        replace(make_statement(opening), **change)


@pytest.mark.parametrize("dimension", [0, -1, release.MAX_DIMENSION + 1])
def test_proof_size_refuses(dimension: int) -> None:
    with pytest.raises(InputError, match="dimension is"):
        release.proof_size(dimension)


def test_proof_size_grows_by_the_page() -> None:
    assert release.proof_size(1) == release.proof_size(DATA_ROWS) == 48 * 27 + 32 * 27
    assert release.proof_size(DATA_ROWS + 1) - release.proof_size(1) == 48 * 18 + 32 * 20
    assert release.proof_size(release.MAX_DIMENSION) < 2**16


def test_checks_are_numbered_and_named_once() -> None:
    assert [check.number for check in CHECKS] == list(range(1, 13))
    assert len({check.name for check in CHECKS}) == len(CHECKS)
