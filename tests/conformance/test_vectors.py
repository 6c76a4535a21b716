"""Both verifiers give every vector the manifest's verdict; the vectors are those that the cases make."""

import json
from pathlib import Path
from typing import Any

import pytest

from intertwine.zk import independent, proof_file
from tests.conformance.forgery.cases import UNUSABLE
from tests.conformance.forgery.catalogue import CASES
from tests.conformance.generate_vectors import FOLDER, VERSION, entry, vector, verdict

MANIFEST = json.loads((FOLDER / "manifest.json").read_bytes())
VECTORS = {entry["file"]: entry for entry in MANIFEST["vectors"]}
REMADE = (
    "dataset-lookup_sum_nonzero.json",
    "dataset-linear_column_opened_elsewhere.json",
    "statistics-honest-one.json",
)


def expected(entry: dict[str, Any]) -> str:
    """The verdict in the words of `verdict`."""
    return UNUSABLE if entry["exit_code"] == 2 else entry["check"]


def test_manifest() -> None:
    assert MANIFEST["version"] == VERSION
    assert MANIFEST["vectors"] == [entry(CASES[file]) for file in sorted(CASES)]
    assert {path.name for path in FOLDER.glob("*.json")} == {*VECTORS, "manifest.json"}


def test_every_statement_has_accepted_vectors() -> None:
    accepted = {entry["statement"] for entry in VECTORS.values() if entry["exit_code"] == 0}
    assert accepted == {"release", "dataset", "statistics", "glm"}


def test_exit_codes_and_checks_belong_together() -> None:
    for vector_entry in VECTORS.values():
        assert bool(vector_entry["check"]) == (vector_entry["exit_code"] == 1)
        names = {check.name for check in proof_file.CHECKS[vector_entry["statement"]]}
        assert not vector_entry["check"] or vector_entry["check"] in names


@pytest.mark.parametrize("file", VECTORS)
def test_both_verifiers(file: str) -> None:
    data = (FOLDER / file).read_bytes()
    assert verdict(proof_file.verify_file, data) == expected(VECTORS[file])
    assert verdict(independent.verify_file, data) == expected(VECTORS[file])


@pytest.mark.parametrize("file", REMADE)
def test_made_anew(file: str) -> None:
    """The same bytes, the same broken gates, from the cheating prover."""
    assert vector(CASES[file]) == (FOLDER / file).read_bytes()


def test_decoding_and_encoding_are_inverse() -> None:
    for file, vector_entry in VECTORS.items():
        if vector_entry["exit_code"] < 2:
            data = (FOLDER / file).read_bytes()
            assert proof_file.encode(*proof_file.decode(data)) == data, file


def test_readme_names_every_field() -> None:
    readme = Path(FOLDER, "README.md").read_text(encoding="utf-8")
    assert all(f"| `{field}` |" in readme for field in MANIFEST["vectors"][0])
