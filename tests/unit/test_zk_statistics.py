"""Noised sums over enrolled records: every statistic against plain loops, pages, sensitivities attained."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import statistics
from intertwine.zk.dataset import DatasetOpening, Label, Shape, commit_dataset
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.noise import NoiseOpening
from intertwine.zk.statistics import Moment, Weights, exact_sum, sensitivity
from tests.proving import SEED, Case, example, records, statistics_case


@pytest.mark.parametrize(
    ("rows", "shape", "moment", "weights", "sigma"),
    [
        (DATA_ROWS + 1, Shape(1, 3, "none"), "sum", "one", 50),
        (DATA_ROWS, Shape(3, 6, "integer", "uniform"), "gram", "one", 100),
        (7, Shape(91, 29, "none"), "gram", "one", 200),  # 4186 entries: two pages of noise
    ],
)
def test_prove_and_verify(rows: int, shape: Shape, moment: Moment, weights: Weights, sigma: int) -> None:
    case = statistics_case(records(rows, shape), moment, weights, sigma)
    proof = case.prove()
    case.verify(proof)
    wrong = case.statement.update.copy()
    wrong[-1] -= 1
    with pytest.raises(VerificationError, match="constraint_identity"):
        case.changed(update=wrong).verify(proof)


def test_rows_beyond_the_stated_ones_are_left_out() -> None:
    """A page may hold more than it says: the sum is over the first `rows` records, and verifies as such."""
    opening = records(9, Shape(2, 6, "none"))
    (page,) = opening.pages
    shorter = replace(page, page=replace(page.page, rows=5))
    case = statistics_case(replace(opening, features=opening.features[:5], pages=(shorter,)), "sum", "one")
    assert np.any(exact_sum(opening, "sum", "one") != exact_sum(case.openings[0], "sum", "one"))
    case.verify(case.prove())


def table_of(opening: DatasetOpening) -> NDArray[np.int64]:
    return np.concatenate([page.table for page in opening.pages])


@pytest.mark.parametrize("label", ["none", "binary", "integer"])
@pytest.mark.parametrize("entries", ["integer", "uniform"])
def test_exact_sums(label: Label, entries: Any) -> None:
    """By loops over the committed tables, in Python's own integers."""
    shape = Shape(4, 7, label, entries)
    opening = DatasetOpening.concatenate([records(30, shape), records(21, shape, b"o" * 32)])
    table = table_of(opening).tolist()
    expected = [sum(row[j] for row in table) for j in range(4)]
    assert exact_sum(opening, "sum", "one").tolist() == expected
    variables = 4 if label == "none" else 5
    gram = [sum(row[j] * row[k] for row in table) for j in range(variables) for k in range(j, variables)]
    assert exact_sum(opening, "gram", "one").tolist() == gram
    assert statistics.dimension(shape, "gram") == len(gram) == variables * (variables + 1) // 2
    assert statistics.dimension(shape, "sum") == 4
    if label == "none":
        with pytest.raises(VerificationError, match="statistic_known"):
            exact_sum(opening, "sum", "label")
    else:
        labelled = [sum(row[4] * row[j] for row in table) for j in range(4)]
        assert exact_sum(opening, "sum", "label").tolist() == labelled
    assert all(exact_sum(opening, *kind).dtype == np.int64 for kind in (("sum", "one"), ("gram", "one")))


def moved(features: list[int], label: int | None, shape: Shape, moment: Moment, weights: Weights) -> float:
    """The norm by which this one record moves the sum."""
    labels = None if label is None else np.array([label], dtype=np.int64)
    opening = commit_dataset(np.array([features], dtype=np.int64), labels, shape, SEED)
    return math.sqrt(sum(value * value for value in exact_sum(opening, moment, weights).tolist()))


@pytest.mark.parametrize(
    ("features", "label", "kind", "moment", "weights", "exact"),
    [
        ([3, -4], None, "none", "sum", "one", True),
        ([5, 0], 1, "binary", "sum", "one", True),
        ([5, 0], 1, "binary", "sum", "label", True),
        ([-3, 4], -1024, "integer", "sum", "label", True),
        ([0, -5], None, "none", "gram", "one", True),
        ([0, 5], 1, "binary", "gram", "one", False),
        ([3, 4], -1024, "integer", "gram", "one", False),
    ],
)
def test_sensitivity_is_attained(
    features: list[int], label: int | None, kind: Label, moment: Moment, weights: Weights, exact: bool
) -> None:
    """By a record of full norm and the largest label; with a label, gram's bound R² + Y² is approached only:
    features and label would have to be in one column."""
    shape = Shape(2, 5, kind)
    distance, bound = moved(features, label, shape, moment, weights), sensitivity(shape, moment, weights)
    assert distance == bound if exact else 0.96 * bound < distance < bound


def test_sensitivity_values() -> None:
    assert sensitivity(Shape(9, 31, "none"), "sum", "one") == 31
    assert sensitivity(Shape(9, 31, "integer"), "sum", "one") == 31
    assert sensitivity(Shape(9, 31, "binary"), "sum", "label") == 31
    assert sensitivity(Shape(9, 31, "integer"), "sum", "label") == 31 * 1024
    assert sensitivity(Shape(9, 31, "none"), "gram", "one") == 961
    assert sensitivity(Shape(9, 31, "binary"), "gram", "one") == 962
    assert sensitivity(Shape(9, 31, "integer"), "gram", "one") == 961 + 2**20


def check_of(case: Case) -> str:
    with pytest.raises(VerificationError) as refused:
        case.verify(b"")
    return refused.value.check


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("sigma_supported", {"sigma": 0}),
        ("update_encoding", {"update": np.zeros(3)}),
        ("update_encoding", {"update": np.zeros(4, dtype=np.int64)}),
        ("update_range", {"update": np.full(3, 2**31)}),
        ("update_range", {"update": np.full(3, -(2**63))}),
        ("statistic_known", {"moment": "variance"}),
        ("statistic_known", {"weights": "two"}),
        ("statistic_known", {"moment": "gram"}),  # with weights "label"
        ("commitment_count", {"randomness": ()}),
        ("commitment_count", {"sigma": 2049}),
        ("proof_length", {}),
    ],
)
def test_checks_by_name(check: str, change: dict[str, object]) -> None:
    assert check_of(example("statistics").changed(**change)) == check
    assert check in {each.name for each in statistics.CHECKS}


def test_weights_need_a_label() -> None:
    case = statistics_case(records(4, Shape(3, 6, "none")), "sum", "one")
    assert check_of(case.changed(weights="label")) == "statistic_known"
    shape = replace(case.statement.dataset.shape, columns=1024, label="integer")
    dataset = replace(case.statement.dataset, shape=shape)
    assert check_of(case.changed(dataset=dataset)) == "commitment_count"


def test_largest_gram_matrix_does_not_fit_and_says_so() -> None:
    """1025 variables give 525,825 entries: more than a vector may have."""
    shape = Shape(1024, 2047, "integer")
    assert statistics.dimension(shape, "gram") == 525_825
    with pytest.raises(InputError, match="no noise of deviation"):
        NoiseOpening(525_825, 50, SEED)
    case = example("statistics").changed(update=np.zeros(525_825, dtype=np.int64))
    assert check_of(case) == "update_encoding"
