"""What statistics and glm share: linear columns made from a dataset's commitments, and the sum they prove.

Both prove Σ_records (…) = Σ_j c_j·g_j for coefficients c_j that follow from θ, which was drawn after g was
committed: equality for random θ means equality of every entry.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import InputError
from intertwine.zk import noise as noisy
from intertwine.zk.dataset import Dataset
from intertwine.zk.expression import Cell, Expression, total
from intertwine.zk.instance import Input
from intertwine.zk.noise import NoiseOpening

MAX_ENTRY = 1 << 31
"""Entries of noised sums are below this in absolute value."""


def dataset_inputs(dataset: Dataset) -> list[tuple[str, Input]]:
    """The dataset's part of the public inputs that both statements absorb."""
    return [
        ("rows", [page.rows for page in dataset.pages]),
        ("dataset", [point for page in dataset.pages for point in page.commitments]),
    ]


def update_digest(update: NDArray[np.int64]) -> bytes:
    """What stands for u in the transcript."""
    return hashlib.sha256(update.astype("<i8").tobytes()).digest()


def decode_dataset(dataset: Dataset) -> list[list[G1Point]]:
    """The points page by page; VerificationError `point_encoding`."""
    return [list(_decode_page(dataset.shape.names, page.commitments)) for page in dataset.pages]


@lru_cache(maxsize=64)
def _decode_page(names: tuple[str, ...], commitments: tuple[bytes, ...]) -> tuple[G1Point, ...]:
    """A page's points, kept: every round of a run is about the same pages."""
    return tuple(noisy.decode_commitments(names, commitments).values())


def rows_text(dataset: Dataset) -> str:
    """The pages' rows as they stand in a circuit's name."""
    return ",".join(str(page.rows) for page in dataset.pages)


def selectors(dataset: Dataset) -> dict[str, list[int]]:
    """Public columns rows[q]: 1 on the rows that hold records."""
    return {f"rows[{index}]": [1] * page.rows for index, page in enumerate(dataset.pages)}


def weight_columns(weights: Sequence[int]) -> dict[str, list[int]]:
    """Public columns weight[p]: the coefficients of g's entries."""
    return noisy.page_columns("weight", weights)


def weighted_vector(dimension: int) -> Expression:
    """Σ_p weight[p]·g[p]."""
    pages = range(len(noisy.page_sizes(dimension)))
    return total([Cell(f"weight[{page}]") * Cell(f"g[{page}]") for page in pages])


def vector_names(dimension: int) -> tuple[str, ...]:
    """The witness columns g[p]."""
    return tuple(f"g[{page}]" for page in range(len(noisy.page_sizes(dimension))))


def refuse_false_sum(
    update: NDArray[np.int64],
    exact: NDArray[np.int64],
    opening: NoiseOpening,
    beacon: bytes,
    slot: bytes,
) -> None:
    """InputError unless the update is the exact sum and the noise of this opening."""
    if len(update) != opening.dimension or np.any(update != exact + opening.noise(beacon, slot)):
        raise InputError("the update is not the sum plus noise.", "Release the exact sum plus noise.")
