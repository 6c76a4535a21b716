"""The bounds that privacy rests on hold exactly, in integers, for any input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from intertwine.models.clipping import CACHE, project, quantize, quantized_sum

REALS = st.floats(-1e6, 1e6, allow_subnormal=False)
BOUNDS = st.integers(1, 500)
NORMS = st.floats(1e-3, 1e3)


@settings(max_examples=150, deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=REALS), BOUNDS, NORMS)
def test_every_record_meets_the_bound_exactly(vectors: np.ndarray, bound: int, norm: float) -> None:
    rounded = quantize(vectors, norm, bound)
    assert rounded.dtype == np.int64
    assert max(int(row @ row) for row in rounded) <= bound * bound


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 2000), st.integers(75, 300), st.integers(0, 2**32 - 1))
def test_dense_rows_that_rounding_pushes_over_the_bound(dimension: int, bound: int, seed: int) -> None:
    vector = np.random.default_rng(seed).uniform(0.5, 1.5, (1, dimension))
    rounded = quantize(vector, 1e-6, bound)[0]
    assert int(rounded @ rounded) <= bound * bound


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3), st.integers(1, 500), st.floats(1e-3, 10.0), st.integers(0, 2**32 - 1))
def test_the_sum_is_that_of_the_rows(parts: int, bound: int, norm: float, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((parts * 30 + 1, CACHE // 30))
    assert np.array_equal(quantized_sum(vectors, norm, bound), quantize(vectors, norm, bound).sum(axis=0))


def test_small_rows_are_rounded_to_nearest() -> None:
    rounded = quantize(np.array([[0.004, -0.006, 0.5]]), 1.0, 100)
    assert rounded.tolist() == [[0, -1, 50]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_counts_as_zero(bad: float) -> None:
    rounded = quantize(np.array([[bad, 1.0], [0.5, 0.0]]), 1.0, 10)
    assert rounded.tolist() == [[0, 0], [5, 0]]


@settings(max_examples=150, deadline=None)
@given(arrays(np.int64, st.integers(1, 60), elements=st.integers(-(10**6), 10**6)), st.integers(1, 10**6))
def test_projection_meets_the_bound_and_keeps_the_direction(total: np.ndarray, bound: int) -> None:
    projected = project(total, bound)
    assert int(projected @ projected) <= bound * bound
    assert (np.sign(projected) * np.sign(total) >= 0).all()
    if int(total @ total) <= bound * bound:
        assert (projected == total).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(10, 400))
def test_when_projection_binds_one_record_moves_it_by_less_than_documented(
    seed: int, update_bound: int
) -> None:
    rng = np.random.default_rng(seed)
    records = quantize(rng.standard_normal((30, 50)), 1.0, 20)
    moved = project(records.sum(axis=0), update_bound) - project(records[1:].sum(axis=0), update_bound)
    assert np.linalg.norm(moved) < 20 + np.sqrt(50)
