"""The reference string: pinned digest, checked points, and a cache that only ever skips repeated work."""

import hashlib
from importlib import resources
from pathlib import Path

import pytest
from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from intertwine.protocols.errors import VerificationError
from intertwine.zk import domain, field, kzg, reference_string
from tests.proving import example, example_proof

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
        kzg.encode_point(G1Point() * kzg.scalars([pow(5, index, field.MODULUS)])[0]) for index in range(4096)
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


@pytest.mark.parametrize("content", [b"", b"not what was checked", bytes(10**6)])
def test_a_corrupted_marker_changes_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker's presence saves repeated checks; its content is never read, the points' digest always."""
    folder = tmp_path / "intertwine"
    folder.mkdir()
    (folder / f"reference-string-{reference_string.DIGEST}.checked").write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = reference_string.load.__wrapped__().data
    assert hashlib.sha256(data).hexdigest() == reference_string.DIGEST


def test_an_altered_file_is_refused_even_with_its_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    (tmp_path / "intertwine").mkdir()
    (tmp_path / "intertwine" / f"reference-string-{reference_string.DIGEST}.checked").touch()
    (tmp_path / "reference_string.bin").write_bytes(data[:-1] + b"\0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(VerificationError, match="digest"):
        reference_string.load.__wrapped__()


def test_proofs_are_refused_under_another_secret(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """The pairing is with this τ: with another one in G2 nothing verifies."""
    case, proof = example("dataset"), example_proof("dataset")
    other = bytes((G2Point() * Scalar(5)).to_compressed_bytes())
    foreign = reference_string.ReferenceString(data[: -len(other)] + other)
    monkeypatch.setattr(reference_string, "load", lambda: foreign)
    with pytest.raises(VerificationError) as refused:
        case.verify(proof)
    assert refused.value.check == "opening_pairing"
