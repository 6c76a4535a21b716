"""The reference string: pinned digest, checked points, and a cache that only ever skips repeated work."""

import hashlib
from pathlib import Path

import pytest
from py_arkworks_bls12381 import G1Point, Scalar

from intertwine.protocols.errors import VerificationError
from intertwine.zk import domain, kzg, reference_string

POINT = 48
SIDE = 4096 * POINT


@pytest.fixture(scope="module")
def data() -> bytes:
    return reference_string.load().data


def refusal(data: bytes) -> str:
    with pytest.raises(VerificationError) as refused:
        reference_string.check_points(data)
    assert refused.value.check == "reference_string"
    return refused.value.problem


def test_shipped_points_pass(data: bytes) -> None:
    assert hashlib.sha256(data).hexdigest() == reference_string.DIGEST
    reference_string.check_points(data)


def bit_reversed(points: bytes) -> bytes:
    order = [int(f"{index:012b}"[::-1], 2) for index in range(4096)]
    return b"".join(points[POINT * index : POINT * index + POINT] for index in order)


def test_srs_bit_reversed(data: bytes) -> None:
    assert "Lagrange" in refusal(bit_reversed(data[:SIDE]) + data[SIDE:])


def test_power_replaced(data: bytes) -> None:
    other = kzg.encode_point(G1Point() * Scalar(5))
    start = SIDE + 7 * POINT
    assert "powers" in refusal(data[:start] + other + data[start + POINT :])


def test_powers_of_another_secret(data: bytes) -> None:
    """G1 powers of a known secret do not fit the ceremony's G2."""
    powers = b"".join(
        kzg.encode_point(G1Point() * kzg.scalar(pow(5, index, domain.MODULUS))) for index in range(4096)
    )
    assert "powers" in refusal(data[:SIDE] + powers + data[2 * SIDE :])


def test_invalid_point_and_length(data: bytes) -> None:
    assert "invalid point" in refusal(bytes(POINT) + data[POINT:])
    assert "length" in refusal(data[:-1])


def test_commitments_by_rows_and_by_coefficients_agree() -> None:
    points = reference_string.load()
    rows = [-3, 5, *[0] * 4000, *range(94)]
    coefficients = [int(value) for value in domain.interpolate(rows).coeffs()]
    by_coefficients = kzg.multiexp(points.powers[: len(coefficients)], coefficients)
    assert kzg.commit_column(points.lagrange, rows) == by_coefficients


def test_load_checks_once_and_leaves_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(reference_string, "check_points", lambda data: checked.append(len(data)))
    for _ in range(2):
        reference_string.load.__wrapped__()
    assert len(checked) == 1
    (marker,) = (tmp_path / "intertwine").iterdir()
    assert marker.read_bytes() == b"" and reference_string.DIGEST in marker.name


def test_load_works_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(reference_string, "check_points", lambda data: None)
    assert reference_string.load.__wrapped__().data


def test_wrong_digest_is_refused_even_with_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "0" * 64
    (tmp_path / "intertwine").mkdir()
    (tmp_path / "intertwine" / f"reference-string-{wrong}.checked").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(reference_string, "DIGEST", wrong)
    with pytest.raises(VerificationError, match="digest"):
        reference_string.load.__wrapped__()
