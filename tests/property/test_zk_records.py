"""Laws of enrolled records: margins stay in their table, one record moves a sum no further than stated."""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intertwine.zk import step
from intertwine.zk.dataset import DatasetOpening, Page, PageOpening, Shape
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.field import MODULUS
from intertwine.zk.glm import Model, quantise_weights
from intertwine.zk.statistics import Moment, Weights, exact_sum, sensitivity

settings.register_profile("records", deadline=None, max_examples=60)
quick = settings.get_profile("records")


def opening_of(table: list[list[int]], shape: Shape) -> DatasetOpening:
    """Records with no commitments: sums and steps need none."""
    values = np.array(table, dtype=np.int64)
    labels = None if shape.label == "none" else values[:, shape.columns]
    page = PageOpening(Page(len(values), ()), values, (), b"")
    return DatasetOpening(shape, values[:, : shape.columns], labels, (page,))


def fitted(direction: list[float], bound: int) -> list[int]:
    """The integer record of about this direction that is as long as it may be."""
    length = math.sqrt(sum(value * value for value in direction)) or 1.0
    record = [math.trunc(value / length * bound) for value in direction]
    record = [min(1023, max(-1024, value)) for value in record]
    assert sum(value * value for value in record) <= bound * bound
    return record


finite = st.floats(-1e6, 1e6, allow_nan=False)
parameters = st.lists(
    finite | st.floats(-1e-6, 1e-6) | st.sampled_from([0.0, 1e15, -1e15]), min_size=1, max_size=6
)
bounds = st.integers(1, 2047)
norms = st.sampled_from(["1", "0.001", "12.5", "1e3", "1e-9"])


@quick
@given(
    parameters,
    bounds,
    norms,
    st.sampled_from(["logistic", "identity"]),
    st.lists(finite, min_size=6, max_size=6),
)
def test_no_record_has_a_margin_beyond_the_table(
    weights: list[float], bound: int, norm: str, link: Literal["logistic", "identity"], other: list[float]
) -> None:
    """Not the one along the weights, nor its opposite, nor one along each axis, with any label."""
    logistic = link == "logistic"
    shape = Shape(len(weights), bound, "binary" if logistic else "integer")
    model = Model(link, 100, norm, 2048, "1" if logistic else "0.01")
    quantised, exponent = quantise_weights(np.array(weights), shape, model)
    directions = [weights, [-value for value in weights], other[: len(weights)]]
    directions += [
        [sign * float(row == axis) for row in range(len(weights))]
        for axis in range(len(weights))
        for sign in (1, -1)
    ]
    records = [fitted(direction, bound) for direction in directions]
    labels = (0, 1) if logistic else (-1024, 0, 1023)
    opening = opening_of([[*record, label] for record in records for label in labels], shape)
    margins = step.margins(opening, model, quantised, exponent)
    factor = (
        0
        if logistic
        else round(Fraction(model.label_unit) * bound * Fraction(2) ** exponent / Fraction(norm))
    )
    exact = [
        sum(w * x for w, x in zip(quantised, record, strict=True)) - factor * label
        for record in records
        for label in labels
    ]
    assert margins.tolist() == exact and max(map(abs, exact)) < 2**32
    residuals = step.residuals(opening, model, quantised, exponent)
    assert int(np.abs(residuals).max()) <= model.residual_bound


@quick
@given(parameters, bounds, norms)
def test_quantised_weights_are_rounded_and_the_finest(weights: list[float], bound: int, norm: str) -> None:
    shape, model = Shape(len(weights), bound, "binary"), Model("logistic", 100, norm)
    quantised, exponent = quantise_weights(np.array(weights), shape, model)
    scale = Fraction(2) ** exponent
    assert quantised == tuple(round(Fraction(value) * scale) for value in weights)
    assert sum(weight * weight for weight in quantised) * bound**2 <= (2**32 - 1) ** 2
    finer = [round(Fraction(value) * scale * 2) for value in weights]
    assert exponent == 64 or sum(weight * weight for weight in finer) * bound**2 > (2**32 - 1) ** 2


entries = st.integers(-1024, 1023)
kinds = st.sampled_from(
    [
        ("sum", "one", "none"),
        ("sum", "one", "integer"),
        ("sum", "label", "binary"),
        ("sum", "label", "integer"),
    ]
    + [("gram", "one", label) for label in ("none", "binary", "integer")]
)


@quick
@given(st.lists(st.lists(entries, min_size=3, max_size=3), min_size=1, max_size=5), entries, kinds)
def test_no_record_moves_a_sum_further_than_stated(
    features: list[list[int]], number: int, kind: tuple[Moment, Weights, Literal["none", "binary", "integer"]]
) -> None:
    """Zeroing any one of the records: the L2 distance never exceeds the sensitivity."""
    moment, weights, label = kind
    longest = max(math.isqrt(sum(value * value for value in row)) + 1 for row in features)
    assume(longest <= 2047)
    shape = Shape(3, longest, label)
    number = {"none": 0, "binary": number % 2, "integer": number}[label]
    table = [row if label == "none" else [*row, number] for row in features]
    whole = exact_sum(opening_of(table, shape), moment, weights)
    for index in range(len(table)):
        without = [[0] * len(row) if row is table[index] else row for row in table]
        rest = exact_sum(opening_of(without, shape), moment, weights)
        moved = sum(value * value for value in (whole - rest).tolist())
        assert moved <= sensitivity(shape, moment, weights) ** 2


scalars = st.integers(0, MODULUS - 1) | st.sampled_from([0, 1, MODULUS - 1, 2**30 - 1, 2**30, 2**254])
tables = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([-1024, 1023, 2047]) | entries, min_size=width, max_size=width),
        min_size=1,
        max_size=4,
    )
)


@quick
@given(tables, st.data())
def test_combinations_of_columns_are_exact(table: list[list[int]], data: st.DataObject) -> None:
    """As big integers say, blinding rows too, for any part of the columns."""
    width = len(table[0])
    start = data.draw(st.integers(0, width - 1))
    weights = data.draw(st.lists(scalars, min_size=1, max_size=width - start))
    blinding = data.draw(st.lists(st.tuples(*[scalars] * 8), min_size=width, max_size=width))
    page = PageOpening(Page(len(table), ()), np.array(table, dtype=np.int64), tuple(blinding), b"")
    rows = [*table, *([0] * width for _ in range(DATA_ROWS - len(table))), *zip(*blinding, strict=True)]
    expected = [
        sum(weight * row[start + place] for place, weight in enumerate(weights)) % MODULUS for row in rows
    ]
    assert page.combine(weights, start) == expected
