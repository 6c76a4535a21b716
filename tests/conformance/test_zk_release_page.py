"""The normative page zk/RELEASE.md says what the code does; a fixed statement keeps its proof's bytes."""

import hashlib
import math
from pathlib import Path

import numpy as np

from intertwine.zk import release, sampler
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.release_circuit import release_circuit

VECTOR = "3a58455ac422cb9a239580b012b3eef93dd4c34d7a7933c71ffabf71331fd6a4"
PAGE = Path(__file__).parents[2].joinpath("zk", "RELEASE.md").read_text(encoding="utf-8")


def test_circuit_description() -> None:
    assert f"```\n{release_circuit(50, 57, 9).description}\n```" in PAGE


def test_checks() -> None:
    for check in release.CHECKS:
        assert f"| {check.number} | {check.name} | {check.what} |" in PAGE


def test_sampler_figures() -> None:
    columns = [sampler.sampler(sigma) for sigma in sampler.SIGMAS]
    variations = [sampler.total_variation(sigma) for sigma in sampler.SIGMAS]
    for label, values in (
        ("B", [chosen.bits for chosen in columns]),
        ("rows of the threshold table", [len(chosen.table.rows) for chosen in columns]),
        (r"largest \|z\|", [chosen.table.rows[-1][0] for chosen in columns]),
        ("log₂ TV, per coordinate", [f"−{-math.log2(value):.2f}" for value in variations]),
    ):
        assert f"| {' | '.join([label, *map(str, values)])} |" in PAGE


def test_proof_size() -> None:
    for pages in (1, 2, 33):
        dimension = min(DATA_ROWS * pages, release.MAX_DIMENSION)
        assert release.proof_size(dimension) == 48 * (18 * pages + 9) + 32 * (20 * pages + 7)


def test_gate_order() -> None:
    names = [gate.name for gate in release_circuit(50, DATA_ROWS + 1, 9).gates]
    assert names == [
        *(f"{name}_boolean[{page}]" for page in (0, 1) for name in ("carry", "sign")),
        *("norm_first", "norm_step", "norm_bound"),
        *(
            f"{name}[{page}]"
            for page in (0, 1)
            for name in (*(f"limbs_{index}" for index in range(5)), "threshold")
        ),
        *("lookup_sum_first", "lookup_sum_step", "lookup_sum_last"),
    ]


def test_vector() -> None:
    """Changes to the proof's bytes are deliberate: they need a new protocol version."""
    opening = release.commit(np.arange(-3, 4, dtype=np.int64), 50, bytes(range(32)))
    update = opening.gradient + release.noise(opening, b"\1" * 32, b"\2" * 32)
    statement = release.ReleaseStatement(
        b"vector", b"\1" * 32, b"\2" * 32, 50, 6, opening.commitments, update
    )
    proof = release.prove(statement, opening)
    release.verify(statement, proof)
    assert hashlib.sha256(proof).hexdigest() == VECTOR
