"""The release statement: page boundaries, the norm, the vector's bounds, what the randomness depends on."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import noise as noisy
from intertwine.zk import release
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.noise import NoiseOpening, public_randomness
from intertwine.zk.release import Commitments, Opening
from intertwine.zk.sampler import sampler
from tests.proving import BEACON, SEED, SLOT, example, release_case, release_of, vector

OTHER = b"other".ljust(32)


@pytest.mark.parametrize(
    ("dimension", "sigma"), [(1, 50), (57, 20001), (DATA_ROWS, 100), (DATA_ROWS + 1, 400)]
)
def test_prove_and_verify(dimension: int, sigma: int) -> None:
    case = release_case(vector(dimension), sigma)
    proof = case.prove()
    assert len(proof) == release.proof_size(dimension, sigma)
    case.verify(proof)
    wrong = case.statement.update.copy()
    wrong[-1] += 1
    with pytest.raises(VerificationError, match="constraint_identity"):
        case.changed(update=wrong).verify(proof)


def test_norm_exactly_at_the_bound() -> None:
    """The longest vector that may be: all of C² used, entries at the ends of their range."""
    gradient = np.array([3, -4], dtype=np.int64)
    case = release_case(gradient, norm_bound=5)
    case.verify(case.prove())
    with pytest.raises(InputError, match="longer than the norm bound"):
        release_case(gradient, norm_bound=4).prove()


def test_largest_norm_and_entries_leave_nothing_undefined() -> None:
    """Entries below 2^20, C = 2^27: squares add up below 2^63, and what is left fits into five limbs."""
    gradient = np.full(noisy.MAX_DIMENSION, 2**20 - 1, dtype=np.int64)
    assert 0 < int(gradient @ gradient) < 2**63
    assert release.MAX_NORM_BOUND**2 < 2**55
    case = release_case(np.array([1 - 2**20, 2**20 - 1]), norm_bound=release.MAX_NORM_BOUND)
    witness = case.witness_of(case.statement, *case.openings)
    slack = sum(limb << (11 * index) for index, limb in enumerate(witness.early["slack"]))
    assert slack == 2**54 - 2 * (2**20 - 1) ** 2 and max(witness.early["slack"]) < 2048


def test_randomness_that_is_not_random_verifies() -> None:
    """A documented limit: with r = 0 anyone can compute the noise; keeping r secret is the owner's task."""
    opening = release.commit(vector(20), 50, SEED)
    opening.noise.random_bits = np.zeros((1, 20), dtype=np.uint64)
    opening.noise.columns = {
        name: [*[0] * DATA_ROWS, *column[DATA_ROWS:]] for name, column in opening.noise.columns.items()
    }
    opening.noise.commitments = noisy.commit_columns(opening.noise.columns.values())
    opening.commitments = Commitments(opening.noise.commitments, opening.commitments.gradient)
    case = release_of(opening)
    case.verify(case.prove())
    assert np.array_equal(opening.noise.uniform(BEACON, SLOT), public_randomness(BEACON, SLOT, 20, 50))


def test_prove_unchecked_makes_a_proof_that_verify_refuses() -> None:
    case = example("release")
    false = case.changed(update=case.statement.update + 1)
    proof = release.prove_unchecked(false.statement, *case.openings)
    assert len(proof) == release.proof_size(20)
    with pytest.raises(VerificationError, match="constraint_identity"):
        false.verify(proof)


def test_randomness_depends_on_seed_vector_and_sigma() -> None:
    gradient = vector(20)
    openings = [
        release.commit(gradient, 50, SEED),
        release.commit(gradient, 50, OTHER),
        release.commit(gradient + 1, 50, SEED),
        release.commit(gradient, 100, SEED),
        release.commit(gradient[:19], 50, SEED),
    ]
    again = release.commit(gradient, 50, SEED)
    assert again.commitments == openings[0].commitments
    for left, right in combinations(openings, 2):
        assert not np.any(left.noise.random_bits[0, :19] == right.noise.random_bits[0, :19])
        assert not set(left.columns["g[0]"][DATA_ROWS:]) & set(right.columns["g[0]"][DATA_ROWS:])
        assert not set(left.commitments.randomness) & set(right.commitments.randomness)
        assert not set(left.commitments.gradient) & set(right.commitments.gradient)


def test_levels_and_pages_have_randomness_of_their_own() -> None:
    opening = NoiseOpening(DATA_ROWS + 9, 2049, SEED)
    assert opening.random_bits.shape == (2, DATA_ROWS + 9)
    assert not np.any(opening.random_bits[0] == opening.random_bits[1])
    assert not np.any(opening.random_bits[:, :9] == opening.random_bits[:, DATA_ROWS:])
    assert int(opening.random_bits.max()) < 2**62
    assert list(opening.columns) == ["r[0,0]", "r[0,1]", "r[1,0]", "r[1,1]"]
    assert len(set(opening.commitments)) == 4 == noisy.noise_pages(DATA_ROWS + 9, 2049)
    tails = [value for column in opening.columns.values() for value in column[DATA_ROWS:]]
    assert len(set(tails)) == 32 and not any(opening.columns["r[1,1]"][9:DATA_ROWS])


def test_public_randomness() -> None:
    bits = public_randomness(BEACON, SLOT, DATA_ROWS + 3, 50)
    assert bits.shape == (1, DATA_ROWS + 3) and bits.dtype == np.uint64 and int(bits.max()) < 2**61
    assert np.array_equal(bits[:, :10], public_randomness(BEACON, SLOT, 10, 50))
    assert not np.any(bits[:, :3] == bits[:, DATA_ROWS:])
    assert not np.any(bits == public_randomness(SLOT, BEACON, DATA_ROWS + 3, 50))
    assert int(public_randomness(BEACON, SLOT, DATA_ROWS, 400).max()) >= 2**63
    two = public_randomness(BEACON, SLOT, 10, 20001)
    assert two.shape == (2, 10) and not np.any(two[0] == two[1])


def test_noise_is_the_sum_of_the_levels() -> None:
    opening = NoiseOpening(1000, 2049, SEED)
    chosen = sampler(2049)
    values = []
    for level in opening.uniform(BEACON, SLOT):
        signs, remainders, rows = chosen.signs_and_magnitudes(level)
        assert np.array_equal(
            level, (signs.astype(np.uint64) << np.uint64(61)) + remainders.astype(np.uint64)
        )
        table = [chosen.table.rows[row] for row in rows]
        assert all(low <= t < high for (_, low, high), t in zip(table, remainders.tolist(), strict=True))
        values.append((1 - 2 * signs) * np.array([size for size, _, _ in table]))
    assert np.array_equal(opening.noise(BEACON, SLOT), values[0] + 32 * values[1])


def test_opening_shows_no_secret() -> None:
    opening = release.commit(vector(3), 50, SEED)
    assert repr(opening) == str(opening) == "Opening(dimension=3, sigma=50, secrets hidden)"
    assert repr(opening.noise) == "NoiseOpening(dimension=3, sigma=50, secrets hidden)"


@pytest.mark.parametrize(
    ("problem", "gradient", "sigma", "seed"),
    [
        ("sigma is 51", np.zeros(3, dtype=np.int64), 51, SEED),
        ("sigma is 50.0", np.zeros(3, dtype=np.int64), 50.0, SEED),
        ("sigma is True", np.zeros(3, dtype=np.int64), True, SEED),
        ("seed is not", np.zeros(3, dtype=np.int64), 50, SEED[:-1]),
        ("seed is not", np.zeros(3, dtype=np.int64), 50, "s" * 32),
        ("gradient is not a vector", np.zeros(3), 50, SEED),
        ("gradient is not a vector", np.zeros(3, dtype=np.int32), 50, SEED),
        ("gradient is not a vector", np.zeros(3, dtype=np.uint64), 50, SEED),
        ("gradient is not a vector", np.zeros(3, dtype=">i8"), 50, SEED),
        ("gradient is not a vector", np.zeros((3, 1), dtype=np.int64), 50, SEED),
        ("gradient is not a vector", np.zeros(0, dtype=np.int64), 50, SEED),
        ("gradient is not a vector", np.array(5), 50, SEED),
        ("gradient is not a vector", [1, 2], 50, SEED),
        ("entry of the gradient", np.array([2**20]), 50, SEED),
        ("entry of the gradient", np.array([-(2**20)]), 50, SEED),
        ("entry of the gradient", np.array([-(2**63)]), 50, SEED),
    ],
)
def test_commit_refuses(problem: str, gradient: NDArray[np.int64], sigma: int, seed: bytes) -> None:
    with pytest.raises(InputError, match=problem):
        release.commit(gradient, sigma, seed)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("sigma_supported", {"sigma": 51}),
        ("norm_bound_range", {"norm_bound": 0}),
        ("norm_bound_range", {"norm_bound": 2**27 + 1}),
        ("norm_bound_range", {"norm_bound": 3000.0}),
        ("update_encoding", {"update": np.zeros(20)}),
        ("update_encoding", {"update": np.zeros(noisy.MAX_DIMENSION + 1, dtype=np.int64)}),
        ("update_range", {"update": np.full(20, 2**21)}),
        ("update_range", {"update": np.full(20, -(2**21))}),
        ("update_range", {"update": np.full(20, -(2**63))}),
        ("commitment_count", {"commitments": Commitments((), ())}),
        ("commitment_count", {"sigma": 2049}),
        ("commitment_count", {"update": np.zeros(DATA_ROWS + 1, dtype=np.int64)}),
        ("proof_length", {}),
    ],
)
def test_checks_by_name_and_number(check: str, change: dict[str, object]) -> None:
    with pytest.raises(VerificationError) as refused:
        example("release").changed(**change).verify(b"")
    assert refused.value.check == check
    assert check in {each.name for each in release.CHECKS}


@pytest.mark.parametrize(
    "change", [{"beacon": b"short"}, {"slot": b"s" * 33}, {"context": "text"}, {"beacon": "b" * 32}]
)
def test_statement_refuses(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="is not a string of"):
        example("release").changed(**change).verify(b"")


@pytest.mark.parametrize("dimension", [0, -1, noisy.MAX_DIMENSION + 1])
def test_proof_size_refuses(dimension: int) -> None:
    with pytest.raises(InputError, match="dimension is"):
        release.proof_size(dimension)


@pytest.mark.parametrize(("pages", "sigma", "levels"), [(1, 50, 1), (2, 400, 1), (33, 100, 1), (2, 5001, 2)])
def test_proof_size(pages: int, sigma: int, levels: int) -> None:
    """13 witness columns and 11 lookups a page and level; slack; two tables; a helper for three lookups."""
    blocks = pages * levels
    sent = 13 * blocks + 1 + 2 + -(-(11 * blocks + 1) // 3) + 1
    dimension = min(DATA_ROWS * pages, noisy.MAX_DIMENSION)
    expected = 48 * (sent + 4 + 2) + 32 * (blocks + pages + sent + 2)
    assert release.proof_size(dimension, sigma) == expected
    assert release.proof_size(dimension - DATA_ROWS + 1 if pages > 1 else 1, sigma) <= expected < 2**16


def test_register_is_per_opening() -> None:
    first, second = Opening(vector(3), 50, SEED, ()), Opening(vector(3), 50, SEED, [b"a"])
    second.noise.register(b"b")
    assert first.noise.proven == frozenset() and second.noise.proven == {b"a", b"b"}
