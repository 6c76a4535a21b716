"""Enrolled records: page boundaries, bounds of entries, norms and labels, uniform entries, appending."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import dataset
from intertwine.zk.dataset import Dataset, DatasetOpening, Label, Page, Shape, commit_dataset
from intertwine.zk.domain import DATA_ROWS, SIZE
from intertwine.zk.field import MODULUS
from tests.proving import SEED, page_case, records

OTHER = b"other".ljust(32)


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        (1, Shape(1, 3, "none")),
        (DATA_ROWS, Shape(3, 6, "integer")),
        (DATA_ROWS + 1, Shape(2, 6, "binary", "uniform")),
    ],
)
def test_prove_and_verify_the_last_page(rows: int, shape: Shape) -> None:
    opening = records(rows, shape)
    assert [page.rows for page in opening.dataset.pages] == [DATA_ROWS] * (rows // (DATA_ROWS + 1)) + [
        (rows - 1) % DATA_ROWS + 1
    ]
    assert opening.dataset.rows == rows
    case = page_case(opening, len(opening.pages) - 1)
    case.verify(case.prove())


def test_records_at_every_bound() -> None:
    """Entries at both ends, a norm exactly at the bound, labels at both ends: still true."""
    features = np.array([[-1024, 0], [1023, 42], [0, -1024], [0, 0]], dtype=np.int64)
    labels = np.array([-1024, 1023, 0, 5], dtype=np.int64)
    case = page_case(commit_dataset(features, labels, Shape(2, 1024, "integer"), SEED))
    case.verify(case.prove())


def test_uniform_records_at_every_bound() -> None:
    """A norm exactly at the bound, all items and none: the weight is a column of its own."""
    features = np.array([[1023, 1023, 1023], [0, 7, 0], [0, 0, 0]], dtype=np.int64)
    opening = commit_dataset(features, None, Shape(3, 1772, "none", "uniform"), SEED)
    assert opening.shape.names == ("x[0]", "x[1]", "x[2]", "weight")
    assert opening.pages[0].table[:, 3].tolist() == [1023, 7, 0]
    case = page_case(opening)
    case.verify(case.prove())


def commit(features: Any, labels: Any = None, label: Label = "none", bound: int = 5, **shape: Any) -> None:
    commit_dataset(
        features, labels, Shape(**{"columns": 2, "row_bound": bound, "label": label} | shape), SEED
    )


ONE = np.array([[3, 4]], dtype=np.int64)
BIT = np.array([1], dtype=np.int64)


@pytest.mark.parametrize(
    ("problem", "arguments"),
    [
        ("not a table", {"features": ONE.astype(np.float64)}),
        ("not a table", {"features": ONE.astype(np.int32)}),
        ("not a table", {"features": ONE[0]}),
        ("not a table", {"features": ONE[:0]}),
        ("2 columns instead of 3", {"features": ONE, "columns": 3}),
        ("record 1 has a feature", {"features": np.array([[0, 0], [0, 1024]]), "bound": 2047}),
        ("record 0 has a feature", {"features": np.array([[-1025, 0]]), "bound": 2047}),
        ("record 0 has a feature", {"features": np.array([[-(2**63), 0]])}),
        ("record 0 has a feature", {"features": np.array([[2**63 - 1, 0]])}),
        ("record 0 has a norm", {"features": ONE, "bound": 4}),
        ("record 2 has a norm", {"features": np.array([[3, 4], [0, 5], [1, 5]])}),
        ("out of range", {"features": ONE, "bound": 2048}),
        ("out of range", {"features": ONE, "bound": 0}),
        ("out of range", {"features": np.zeros((1, 0), dtype=np.int64), "columns": 0}),
        ("out of range", {"features": ONE, "columns": 1025}),
        ("out of range", {"features": ONE, "label": "ternary"}),
        ("out of range", {"features": ONE, "entries": "ragged"}),
        ("do not fit the label", {"features": ONE, "labels": BIT}),
        ("do not fit the label", {"features": ONE, "label": "binary"}),
        ("a label outside", {"features": ONE, "labels": BIT * 2, "label": "binary"}),
        ("a label outside", {"features": ONE, "labels": -BIT, "label": "binary"}),
        ("a label outside", {"features": ONE, "labels": BIT * 1024, "label": "integer"}),
        ("a label outside", {"features": ONE, "labels": BIT * -1025, "label": "integer"}),
        ("not one signed", {"features": ONE, "labels": BIT.astype(bool), "label": "binary"}),
        ("not one signed", {"features": ONE, "labels": np.array([1, 0]), "label": "binary"}),
        ("different weights", {"features": ONE, "entries": "uniform"}),
        ("different weights", {"features": np.array([[-3, -3]]), "entries": "uniform"}),
        ("different weights", {"features": np.array([[-3, 0]]), "entries": "uniform"}),
    ],
)
def test_commit_refuses(problem: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=problem):
        commit(**arguments)


def test_commit_refuses_a_bad_seed() -> None:
    for seed in (b"short", "s" * 32):
        with pytest.raises(InputError, match="seed is not"):
            commit_dataset(ONE, None, Shape(2, 5, "none"), seed)  # type: ignore[arg-type]


def test_commit_keeps_its_own_copy() -> None:
    features = ONE.copy()
    opening = commit_dataset(features, None, Shape(2, 5, "none"), SEED)
    features[0, 0] = 0
    assert opening.features.tolist() == [[3, 4]] and opening.pages[0].table.tolist() == [[3, 4]]


def tails(opening: DatasetOpening) -> set[int]:
    return {value for page in opening.pages for column in page.blinding for value in column}


def test_no_blinding_is_used_twice() -> None:
    """Not by another seed, record, page, column or arrangement of the same numbers."""
    features = np.arange(6, dtype=np.int64).reshape(2, 3)
    shape = Shape(3, 20, "none")
    openings = [
        commit_dataset(features, None, shape, SEED),
        commit_dataset(features, None, shape, OTHER),
        commit_dataset(features + 1, None, shape, SEED),
        commit_dataset(features.reshape(3, 2), None, Shape(2, 20, "none"), SEED),
        commit_dataset(np.zeros((DATA_ROWS + DATA_ROWS, 1), dtype=np.int64), None, Shape(1, 1, "none"), SEED),
    ]
    drawn = [tails(opening) for opening in openings]
    assert [len(values) for values in drawn] == [24, 24, 24, 16, 16]
    assert len(set.union(*drawn)) == sum(map(len, drawn))
    assert len({opening.pages[0].secret for opening in openings}) == 5
    first, second = openings[4].pages
    assert first.page.commitments != second.page.commitments and first.secret != second.secret
    assert commit_dataset(features, None, shape, SEED).dataset == openings[0].dataset


def test_concatenate() -> None:
    shape = Shape(3, 6, "binary")
    parts = [records(9, shape), records(5, shape, OTHER)]
    whole = DatasetOpening.concatenate(parts)
    assert whole.dataset.pages == parts[0].dataset.pages + parts[1].dataset.pages
    assert np.array_equal(whole.features, np.concatenate([part.features for part in parts]))
    assert whole.labels is not None and len(whole.labels) == 14 == whole.dataset.rows
    assert whole.secrets == (*parts[0].secrets, *parts[1].secrets)
    with pytest.raises(InputError, match="differ in shape"):
        DatasetOpening.concatenate([parts[0], records(5, Shape(3, 7, "binary"))])
    plain = DatasetOpening.concatenate([records(2, Shape(3, 6, "none"))] * 2)
    assert plain.labels is None and plain.dataset.rows == 4


def combined(table: NDArray[np.int64], blinding: Any, weights: list[int], start: int) -> list[int]:
    """Σ weights[j]·column_(start+j) by big integers."""
    rows = [*table.tolist(), *([0] * table.shape[1] for _ in range(DATA_ROWS - len(table)))]
    rows += [list(row) for row in zip(*blinding, strict=True)]
    pairs = range(len(weights))
    return [sum(weights[j] * row[start + j] for j in pairs) % MODULUS for row in rows]


@pytest.mark.parametrize("entry", [-1024, 1023, 2047])
@pytest.mark.parametrize("weight", [0, 1, MODULUS - 1, 2**254])
def test_combine_is_exact_at_its_extremes(entry: int, weight: int) -> None:
    """1024 columns of the largest entries and weights: nothing is lost in floating point."""
    table = np.full((2, 1024), entry, dtype=np.int64)
    table[1, ::2] *= -1
    blinding = tuple(tuple(MODULUS - 1 - j - row for row in range(8)) for j in range(1024))
    page = dataset.PageOpening(Page(2, ()), table, blinding, b"")
    weights = [weight] * 1024
    values = page.combine(weights)
    assert len(values) == SIZE and values == combined(table, blinding, weights, 0)


def test_combine_takes_a_part_of_the_columns() -> None:
    opening = records(7, Shape(5, 12, "integer"))
    (page,) = opening.pages
    weights = [MODULUS - 5, 3]
    assert page.combine(weights, 4) == combined(page.table, page.blinding, weights, 4)
    assert [value % MODULUS for value in page.columns(opening.shape)["y"]] == page.combine([1], 5)


@pytest.mark.parametrize(
    ("check", "shape", "page"),
    [
        ("dataset_shape", {"columns": 1025}, {}),
        ("dataset_shape", {"row_bound": 0}, {}),
        ("dataset_shape", {"label": "ternary"}, {}),
        ("dataset_shape", {"label": ["none"]}, {}),
        ("dataset_shape", {"entries": "ragged"}, {}),
        ("dataset_shape", {}, {"rows": 0}),
        ("dataset_shape", {}, {"rows": DATA_ROWS + 1}),
        ("dataset_shape", {}, {"rows": True}),
        ("commitment_count", {"columns": 2}, {}),
        ("commitment_count", {"label": "binary"}, {}),
        ("commitment_count", {"entries": "uniform"}, {}),
        ("commitment_count", {}, {"commitments": ()}),
        ("commitment_count", {}, {"commitments": None}),
    ],
)
def test_check_dataset(check: str, shape: dict[str, Any], page: dict[str, Any]) -> None:
    good: dict[str, Any] = {"columns": 3, "row_bound": 5, "label": "none"}
    points: dict[str, Any] = {"rows": 4, "commitments": (b"1", b"2", b"3")}
    dataset.check_dataset(Dataset(Shape(**good), (Page(**points),)))
    with pytest.raises(VerificationError) as refused:
        dataset.check_dataset(Dataset(Shape(**good | shape), (Page(**points | page),)))
    assert refused.value.check == check


@pytest.mark.parametrize("pages", [(), [], None, "x", (None,), [Page(1, (b"1",))]])
def test_a_dataset_is_a_tuple_of_pages(pages: Any) -> None:
    with pytest.raises(VerificationError, match="dataset_shape"):
        dataset.check_dataset(Dataset(Shape(1, 1, "none"), pages))


def test_prove_refuses_another_page_or_shape() -> None:
    opening = DatasetOpening.concatenate([records(3, Shape(1, 3, "none")), records(4, Shape(1, 3, "none"))])
    case = page_case(opening, 0)
    for altered in (page_case(opening, 1).statement, case.changed(shape=Shape(1, 4, "none")).statement):
        with pytest.raises(InputError, match="another page"):
            dataset.prove_page(altered, opening, 0)
