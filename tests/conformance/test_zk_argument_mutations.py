"""Honest proofs under altered statements, and altered bytes, named by their defect, each with its check."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import field, kzg, release
from intertwine.zk.commitment import Commitments, Opening
from intertwine.zk.field import MODULUS
from intertwine.zk.release import ReleaseStatement

SIGMA, DIMENSION = 100, 57
BEACON, SLOT = b"beacon".ljust(32), b"slot".ljust(32)
SEED = b"seed".ljust(32)
INFINITY = b"\xc0" + bytes(47)


def make_statement(opening: Opening, beacon: bytes = BEACON) -> ReleaseStatement:
    update = opening.gradient + release.noise(opening, beacon, SLOT)
    return ReleaseStatement(
        b"participant 1, round 2, model 3", beacon, SLOT, SIGMA, 400, opening.commitments, update
    )


def make_opening(dimension: int = DIMENSION, seed: bytes = SEED) -> Opening:
    gradient = np.zeros(dimension, dtype=np.int64)
    gradient[:DIMENSION] = np.arange(DIMENSION) % 40
    return release.commit(gradient, SIGMA, seed)


@pytest.fixture(scope="module")
def honest() -> tuple[ReleaseStatement, bytes]:
    opening = make_opening()
    statement = make_statement(opening)
    return statement, release.prove(statement, opening)


def refusal(statement: ReleaseStatement, proof: bytes) -> str:
    """The name of the check that refuses the proof."""
    with pytest.raises(VerificationError) as refused:
        release.verify(statement, proof)
    return refused.value.check


def test_honest(honest: tuple[ReleaseStatement, bytes]) -> None:
    release.verify(*honest)


@pytest.mark.parametrize(
    ("defect", "context"),
    [
        ("wrong_participant", b"participant 2, round 2, model 3"),
        ("wrong_round", b"participant 1, round 3, model 3"),
        ("wrong_model", b"participant 1, round 2, model 4"),
    ],
)
def test_wrong_context(honest: tuple[ReleaseStatement, bytes], defect: str, context: bytes) -> None:
    statement, proof = honest
    assert refusal(replace(statement, context=context), proof) == "constraint_identity", defect


@pytest.mark.parametrize(
    ("defect", "change"),
    [
        ("sigma_lower", {"sigma": 50}),
        ("norm_bound_higher", {"norm_bound": 401}),
        ("other_beacon", {"beacon": b"second beacon".ljust(32)}),
        ("other_slot", {"slot": b"second slot".ljust(32)}),
    ],
)
def test_params_swapped(honest: tuple[ReleaseStatement, bytes], defect: str, change: dict[str, Any]) -> None:
    statement, proof = honest
    assert refusal(replace(statement, **change), proof) == "constraint_identity", defect


def test_commitments_swapped(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    swapped = Commitments(statement.commitments.gradient, statement.commitments.randomness)
    assert refusal(replace(statement, commitments=swapped), proof) == "constraint_identity"


def test_u_entry_plus_1(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    update = statement.update.copy()
    update[0] += 1
    assert refusal(replace(statement, update=update), proof) == "constraint_identity"


@pytest.mark.parametrize("value", [2**20, -(2**20), 2**40])
def test_u_out_of_range(honest: tuple[ReleaseStatement, bytes], value: int) -> None:
    statement, proof = honest
    update = statement.update.copy()
    update[5] = value
    assert refusal(replace(statement, update=update), proof) == "update_range"


@pytest.mark.parametrize("dtype", ["<f8", "<i4", ">i8", "<u8", "O"])
def test_u_non_canonical(honest: tuple[ReleaseStatement, bytes], dtype: str) -> None:
    statement, proof = honest
    assert refusal(replace(statement, update=statement.update.astype(dtype)), proof) == "update_encoding"


@pytest.mark.parametrize("shape", [(0,), (131_073,), (57, 1)])
def test_u_of_wrong_shape(honest: tuple[ReleaseStatement, bytes], shape: tuple[int, ...]) -> None:
    statement, proof = honest
    assert refusal(replace(statement, update=np.zeros(shape, dtype=np.int64)), proof) == "update_encoding"


@pytest.mark.parametrize("sigma", [0, 51, 100.0, True])
def test_sigma_unsupported(honest: tuple[ReleaseStatement, bytes], sigma: Any) -> None:
    statement, proof = honest
    assert refusal(replace(statement, sigma=sigma), proof) == "sigma_supported"


@pytest.mark.parametrize("bound", [0, -1, 2**27 + 1, 400.0])
def test_norm_bound_out_of_range(honest: tuple[ReleaseStatement, bytes], bound: Any) -> None:
    statement, proof = honest
    assert refusal(replace(statement, norm_bound=bound), proof) == "norm_bound_range"


def test_page_missing(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    assert refusal(replace(statement, update=np.zeros(4089, dtype=np.int64)), proof) == "commitment_count"
    with pytest.raises(VerificationError) as refused:
        Commitments(statement.commitments.randomness * 2, statement.commitments.gradient)
    assert refused.value.check == "commitment_count"


def test_truncated_and_trailing_bytes(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    for altered in (b"", proof[:-1], proof + b"\0", proof * 2):
        assert refusal(statement, altered) == "proof_length"


FIRST_SCALAR = 48 * 25
"""After 12 witness, 1 norm, 2 multiplicity, 6 helper, 1 sum and 3 chunk commitments of a one-page proof."""

SCALARS = 27


def test_evaluation_changed(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    for index in range(SCALARS):
        start = FIRST_SCALAR + 32 * index
        changed = field.encode(field.decode(proof[start : start + 32]) + 1)
        altered = proof[:start] + changed + proof[start + 32 :]
        assert refusal(statement, altered) == "constraint_identity", index


def test_point_changed(honest: tuple[ReleaseStatement, bytes]) -> None:
    """Another valid point in the place of each: commitments change challenges, openings the pairing."""
    statement, proof = honest
    other = kzg.encode_point(G1Point())
    for index in range(25):
        altered = proof[: 48 * index] + other + proof[48 * index + 48 :]
        assert refusal(statement, altered) == "constraint_identity", index
    for start in (len(proof) - 96, len(proof) - 48):
        assert refusal(statement, proof[:start] + other + proof[start + 48 :]) == "opening_pairing", start


def test_scalar_not_reduced(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    for index in range(SCALARS):
        start = FIRST_SCALAR + 32 * index
        value = int.from_bytes(proof[start : start + 32], "little") + MODULUS
        altered = proof[:start] + value.to_bytes(32, "little") + proof[start + 32 :]
        assert refusal(statement, altered) == "scalar_canonical", index


def point_outside_subgroup() -> bytes:
    """A point of the curve that is not in the subgroup."""
    for x in range(1, 100):
        data = bytes([0x80]) + x.to_bytes(47, "big")
        try:
            point = G1Point.from_compressed_bytes_unchecked(data)
        except ValueError:
            continue
        if not point.is_in_subgroup():
            return data
    raise AssertionError("no such point found")


BAD_POINTS = {
    "opening_identity": INFINITY,
    "infinity_with_sign": b"\xe0" + bytes(47),
    "infinity_with_all_bits": b"\xff" * 48,
    "infinity_with_trailing_bit": b"\xc0" + bytes(46) + b"\1",
    "infinity_uncompressed": b"\x40" + bytes(47),
    "non_subgroup_point": point_outside_subgroup(),
    "zero": bytes(48),
    "x_not_on_curve": bytes([0x80]) + bytes(46) + b"\1",
    "x_not_reduced": bytes([0x9A]) + b"\xff" * 47,
}


@pytest.mark.parametrize("defect", BAD_POINTS)
def test_infinity_encodings_and_other_points(honest: tuple[ReleaseStatement, bytes], defect: str) -> None:
    statement, proof = honest
    point = BAD_POINTS[defect]
    for start in (0, 48 * 24, len(proof) - 96, len(proof) - 48):
        assert refusal(statement, proof[:start] + point + proof[start + 48 :]) == "point_encoding"
    with pytest.raises(VerificationError) as refused:
        Commitments((point,), statement.commitments.gradient)
    assert refused.value.check == "point_encoding"


def test_commitment_of_wrong_type() -> None:
    point = kzg.encode_point(G1Point())
    for wrong in (point[:-1], point + b"\0", bytearray(point), point.hex()):
        with pytest.raises(VerificationError) as refused:
            Commitments((wrong,), (point,))  # type: ignore[arg-type]
        assert refused.value.check == "point_encoding"


def test_msm_length_mismatch() -> None:
    for values in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match="2 points but"):
            kzg.multiexp([G1Point(), G1Point()], values)


def test_chunk_swapped(honest: tuple[ReleaseStatement, bytes]) -> None:
    statement, proof = honest
    first, second = 48 * 22, 48 * 23
    altered = proof[:first] + proof[second : second + 48] + proof[first:second] + proof[second + 48 :]
    assert refusal(statement, altered) == "constraint_identity"


def test_degenerate_challenge_is_refused(
    honest: tuple[ReleaseStatement, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A challenge inside the domain has no Lagrange values: refused, not crashed."""
    statement, proof = honest
    monkeypatch.setattr(field, "reduce_uniform", lambda data: 1)
    assert refusal(statement, proof) == "constraint_identity"
