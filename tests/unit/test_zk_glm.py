"""One DP-SGD step: its integer arithmetic against exact references, lots, and the statement at its edges."""

import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import glm, step
from intertwine.zk.dataset import DatasetOpening, Shape, commit_dataset
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.glm import LotOpening, Model, exact_step, quantise_weights
from tests.proving import BEACON, SEED, SLOT, Case, example, glm_case, records

OTHER = b"other".ljust(32)
LOGISTIC, IDENTITY = Shape(3, 6, "binary"), Shape(3, 6, "integer")
LOGISTIC_MODEL = Model("logistic", 100, "1.5")
IDENTITY_MODEL = Model("identity", 200, "2", 2048, "0.001", "0.75")
PARAMETERS = np.array([0.5, -2.0, 1.25])


@pytest.mark.parametrize(
    ("rows", "shape", "model", "sigma"),
    [
        (DATA_ROWS + 1, LOGISTIC, LOGISTIC_MODEL, 50),
        (DATA_ROWS, IDENTITY, replace(IDENTITY_MODEL, lot=1), 100),
        (1, Shape(1, 3, "integer", "uniform"), replace(IDENTITY_MODEL, lot=2047), 400),
    ],
)
def test_prove_and_verify(rows: int, shape: Shape, model: Model, sigma: int) -> None:
    case = glm_case(records(rows, shape), model, PARAMETERS[: shape.columns], sigma)
    proof = case.prove()
    case.verify(proof)
    wrong = case.statement.update.copy()
    wrong[0] += 1
    with pytest.raises(VerificationError, match="constraint_identity"):
        case.changed(update=wrong).verify(proof)


# Arithmetic, from GLM.md


def argument(high: int, model: Model, shape: Shape, exponent: int) -> Fraction:
    """a(h) = (2h - 2047)·2^21·c/(R·2^E)."""
    return (
        (2 * high - 2047) * 2**21 * Fraction(model.record_norm) / (shape.row_bound * Fraction(2) ** exponent)
    )


def residual(high: int, model: Model, shape: Shape, exponent: int) -> int:
    """f(h), by 90 digits for logistic and exactly for identity."""
    real = argument(high, model, shape, exponent)
    if model.link == "identity":
        scaled = round(model.residual_bound * real / Fraction(model.residual_norm))
        return min(model.residual_bound, max(-model.residual_bound, scaled))
    if abs(real) > 1000:
        return model.residual_bound if real > 0 else 0
    with localcontext(prec=90):
        power = (-Decimal(real.numerator) / Decimal(real.denominator)).exp()
        return round(model.residual_bound / (1 + power))


MODELS = [
    (LOGISTIC, LOGISTIC_MODEL, 20),
    (LOGISTIC, Model("logistic", 1023, "0.3"), 25),
    (LOGISTIC, Model("logistic", 1, "1"), 30),
    (LOGISTIC, Model("logistic", 1000, "1"), -32),
    (LOGISTIC, Model("logistic", 1000, "1"), 64),
    (LOGISTIC, Model("logistic", 7, "1e99"), 0),
    (LOGISTIC, Model("logistic", 8, "1e-99"), 0),
    (IDENTITY, IDENTITY_MODEL, 24),
    (IDENTITY, Model("identity", 1023, "1", 2048, "1", "1e-99"), 20),
    (IDENTITY, Model("identity", 1023, "1", 2048, "1", "1e99"), 20),
    (Shape(1, 3, "integer"), Model("identity", 3, "1", 2048, "4.5", "4"), 20),  # a tie at every h
]


@pytest.mark.parametrize(("shape", "model", "exponent"), MODELS)
def test_residual_table(shape: Shape, model: Model, exponent: int) -> None:
    rows = step.residual_table(model, shape, exponent).rows
    assert len(rows) == 2048 and [high for high, _ in rows] == list(range(2048))
    for high in (0, 1, 2, 511, 700, 900, *range(1000, 1050), 1500, 2046, 2047):
        assert rows[high][1] == residual(high, model, shape, exponent)
    values = [value for _, value in rows]
    opposite = model.residual_bound if model.link == "logistic" else 0
    assert all(left + right == opposite for left, right in zip(values, values[::-1], strict=True))
    assert values == sorted(values)
    low = 0 if model.link == "logistic" else -model.residual_bound
    assert low <= values[0] <= values[-1] <= model.residual_bound


@pytest.mark.parametrize(
    ("unit", "norm", "bound", "exponent", "factor"),
    [
        ("0.001", "2", 6, 24, round(Fraction(1, 1000) * 6 * 2**24 / 2)),
        ("4.5", "3", 1, 0, 2),  # exactly 1.5: to even
        ("1.5", "3", 1, 0, 0),  # exactly 0.5: to even
        ("7.5", "3", 1, 0, 2),  # exactly 2.5: to even
        ("1", "1", 2047, -32, 0),
    ],
)
def test_label_factor(unit: str, norm: str, bound: int, exponent: int, factor: int) -> None:
    model = Model("identity", 10, norm, 2048, unit)
    assert step.label_factor(model, Shape(1, bound, "integer"), exponent) == factor
    assert step.label_factor(replace(model, link="logistic"), Shape(1, bound, "binary"), exponent) == 0


def reference_step(opening: DatasetOpening, case: Case, chosen: list[bool]) -> list[int]:
    """g by loops over records in Python's own integers."""
    shape, model = opening.shape, case.statement.model
    weights, exponent = case.statement.weights, case.statement.exponent
    logistic = model.link == "logistic"
    factor = 0
    if not logistic:
        factor = round(
            Fraction(model.label_unit)
            * shape.row_bound
            * Fraction(2) ** exponent
            / Fraction(model.record_norm)
        )
    total = [0] * shape.columns
    table = np.concatenate([page.table for page in opening.pages]).tolist()
    for row, taken in zip(table, chosen, strict=True):
        features, label = row[: shape.columns], row[shape.columns]
        margin = sum(w * x for w, x in zip(weights, features, strict=True)) - factor * label
        high = math.floor(Fraction(margin, 2**22)) + 1024
        error = (model.residual_bound * label if logistic else 0) - residual(high, model, shape, exponent)
        assert 0 <= high < 2048 and abs(error) <= model.residual_bound
        total = [sum_ + taken * error * x for sum_, x in zip(total, features, strict=True)]
    return total


@pytest.mark.parametrize(
    ("shape", "model"),
    [(LOGISTIC, LOGISTIC_MODEL), (IDENTITY, IDENTITY_MODEL), (LOGISTIC, replace(LOGISTIC_MODEL, lot=900))],
)
def test_exact_step(shape: Shape, model: Model) -> None:
    opening = DatasetOpening.concatenate([records(40, shape), records(25, shape, OTHER)])
    case = glm_case(opening, model, PARAMETERS)
    _, noise, lot = case.openings
    chosen = [True] * 65
    if lot is not None:
        shared = step.public_lot(BEACON, SLOT, [40, 25])
        secret = [int(bit) for bits in lot.random_bits for bit in bits]
        public = [int(bit) for bits in shared for bit in bits]
        chosen = [(r + b) % 2048 < model.lot for r, b in zip(secret, public, strict=True)]
        assert 0 < sum(chosen) < 65
    weights, exponent = case.statement.weights, case.statement.exponent
    found = exact_step(opening, model, weights, exponent, lot, BEACON, SLOT)
    assert found.tolist() == reference_step(opening, case, chosen)
    assert np.array_equal(case.statement.update - noise.noise(BEACON, SLOT), found)


@pytest.mark.parametrize(("shape", "model"), [(LOGISTIC, LOGISTIC_MODEL), (IDENTITY, IDENTITY_MODEL)])
def test_exact_step_approximates_the_real_one(shape: Shape, model: Model) -> None:
    """Within what GLM.md documents: half a unit of the table and half a step of the margin, per record."""
    opening = records(60, shape)
    weights, exponent = quantise_weights(PARAMETERS, shape, model)
    found = step.residuals(opening, model, weights, exponent) / model.residual_bound
    real_unit = float(model.record_norm) / shape.row_bound
    margins = opening.features @ PARAMETERS * real_unit
    assert opening.labels is not None
    half_step = 2.0**21 * real_unit / 2.0**exponent + 1e-6
    if model.link == "logistic":
        expected = opening.labels - 1 / (1 + np.exp(-margins))
        slope = 0.25
    else:
        error = float(model.label_unit) * opening.labels - margins
        expected = np.clip(error / float(model.residual_norm), -1, 1)
        slope = 1 / float(model.residual_norm)
    assert np.abs(found - expected).max() <= 0.5 / model.residual_bound + slope * half_step
    assert np.abs(expected).max() > 0.3 and half_step < 0.02


def test_the_documented_resolution() -> None:
    """Margins up to 8 in absolute value have steps of 1/128: within 1/1024 of the probability."""
    shape, model = Shape(1, 1, "binary"), Model("logistic", 1000, "1")
    _, exponent = quantise_weights(np.array([7.99]), shape, model)
    assert exponent == 29
    spacing = argument(1025, model, shape, exponent) - argument(1024, model, shape, exponent)
    assert spacing == Fraction(1, 128) and spacing / 2 / 4 == Fraction(1, 1024)


def test_quantised_weights_are_the_finest_that_fit() -> None:
    weights, exponent = quantise_weights(PARAMETERS, LOGISTIC, LOGISTIC_MODEL)
    assert weights == tuple(round(value * 2**exponent) for value in PARAMETERS.tolist())
    length = math.sqrt(sum(weight * weight for weight in weights))
    assert 2**31 < length * LOGISTIC.row_bound <= 2**32 - 1
    zero = quantise_weights(np.zeros(3), LOGISTIC, LOGISTIC_MODEL)
    assert zero == ((0, 0, 0), 64)


def test_labels_leave_room_for_the_margin() -> None:
    """1024·K takes its part of the table before the weights do, and never all of it."""
    model = Model("identity", 100, "1", 2048, "1")
    _, exponent = quantise_weights(np.zeros(3), IDENTITY, model)
    assert 1024 * 6 * 2**exponent < 2**32 <= 1024 * 6 * 2 ** (exponent + 1)
    weights, scale = quantise_weights(PARAMETERS, IDENTITY, model)
    length = math.sqrt(sum(weight * weight for weight in weights))
    assert scale == exponent and length * 6 + 1024 * 6 * 2**scale < 2**32


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("not one finite", np.array([1.0, np.nan, 0])),
        ("not one finite", np.array([1.0, np.inf, 0])),
        ("not one finite", np.array([1.0, 2.0])),
        ("not one finite", np.ones((3, 1))),
        ("too large", np.array([1e300, 0, 0])),
        ("too large", np.array([0, -9e307, 0])),
        ("too large", np.array([2.0**64, 0, 0])),
    ],
)
def test_unusable_weights(problem: str, parameters: Any) -> None:
    with pytest.raises(InputError, match=problem):
        quantise_weights(parameters, LOGISTIC, LOGISTIC_MODEL)


WRONG_LINKS: tuple[Any, ...] = ("probit", None, ["logistic"], {})
BAD_MODELS: list[dict[str, Any]] = [
    *({"link": value} for value in WRONG_LINKS),
    *({"residual_bound": value} for value in (0, 1024, -1, 1.0, True, "1")),
    *({"lot": value} for value in (0, 2049, 1.5, None)),
    *(
        {"record_norm": value}
        for value in ("0", "-1", "nan", "inf", "", " 1", "1 ", "1_0", "+1", "1e999", "1e1e1", ".5", "5.", "٣")
    ),
    *({"record_norm": value} for value in (1, 1.0, None, b"1", "1" * 13, "0." + "1" * 13)),
    *({"label_unit": value} for value in ("2", "1.0", 1)),
    {"residual_norm": "2"},
    {"link": "identity"},
]


@pytest.mark.parametrize("change", BAD_MODELS)
def test_bad_models(change: dict[str, Any]) -> None:
    """By the statement's check, and before any weights are quantised for it."""
    case = example("glm")
    model = replace(case.statement.model, **change)
    with pytest.raises(VerificationError) as refused:
        case.changed(model=model).verify(b"")
    assert refused.value.check == "model_range"
    with pytest.raises(InputError, match="model's numbers"):
        quantise_weights(PARAMETERS, LOGISTIC, model)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("sigma_supported", {"sigma": 20000}),
        ("update_encoding", {"update": np.zeros(4, dtype=np.int64)}),
        ("update_encoding", {"update": None}),
        ("update_range", {"update": np.full(3, -(2**31))}),
        ("model_range", {"exponent": -33}),
        ("model_range", {"exponent": 65}),
        ("model_range", {"exponent": 1.0}),
        ("model_range", {"weights": (1, 2)}),
        ("model_range", {"weights": [1, 2, 3]}),
        ("model_range", {"weights": (1.0, 2, 3)}),
        ("model_range", {"weights": (np.int64(1), 2, 3)}),
        ("model_range", {"weights": ((2**32 - 1) // 6 + 1, 0, 0)}),
        ("model_range", {"weights": (2**70, 0, 0)}),
        ("commitment_count", {"randomness": ()}),
        ("commitment_count", {"lot_randomness": ()}),
        ("proof_length", {"weights": (-((2**32 - 1) // 6), 0, 0)}),
        ("proof_length", {"exponent": -32}),
        ("proof_length", {"exponent": 64}),
    ],
)
def test_checks_by_name(check: str, change: dict[str, object]) -> None:
    with pytest.raises(VerificationError) as refused:
        example("glm").changed(**change).verify(b"")
    assert refused.value.check == check
    assert check in {each.name for each in glm.CHECKS}


def test_every_honest_update_must_fit() -> None:
    """n·A·R may come close to the largest entry, less room for the noise."""
    shape = Shape(1, 2047, "binary")
    features = np.full((1027, 1), 1023, dtype=np.int64)
    opening = commit_dataset(features, np.ones(1027, dtype=np.int64), shape, SEED)
    case = glm_case(opening, Model("logistic", 1022, "1"), np.array([1.0]))
    with pytest.raises(VerificationError, match="model_range"):
        case.verify(b"")
    fewer = commit_dataset(features[:1026], np.ones(1026, dtype=np.int64), shape, SEED)
    with pytest.raises(VerificationError, match="proof_length"):
        glm_case(fewer, Model("logistic", 1022, "1"), np.array([1.0])).verify(b"")


def test_lots() -> None:
    rows = (DATA_ROWS, 2000)
    lot = LotOpening(rows, SEED)
    chosen = [lot.page_bits(page, BEACON, SLOT, 512) for page in (0, 1)]
    for (carry, bits, inside), count, secret in zip(chosen, rows, lot.random_bits, strict=True):
        assert len(carry) == len(bits) == len(inside) == DATA_ROWS and len(secret) == count
        assert set(carry.tolist()) == {0, 1} and bits.min() >= 0 and bits.max() < 2048
        assert np.array_equal(inside, bits < 512)
        assert not bits[count:].any() and not carry[count:].any()
    taken = sum(int(inside[:count].sum()) for (_, _, inside), count in zip(chosen, rows, strict=True))
    expected, deviation = 6088 / 4, math.sqrt(6088 * 3 / 16)
    assert abs(taken - expected) < 4.5 * deviation
    assert not np.array_equal(lot.random_bits[0][:2000], lot.random_bits[1])
    assert LotOpening(rows, SEED).commitments == lot.commitments
    assert not set(LotOpening(rows, OTHER).commitments) & set(lot.commitments)
    assert not set(LotOpening((DATA_ROWS, 1999), SEED).commitments) & set(lot.commitments)
    assert repr(lot) == "LotOpening(rows=[4088, 2000], secrets hidden)"
    with pytest.raises(InputError, match="seed is not"):
        LotOpening(rows, b"short")


def test_public_lot_bits_depend_on_everything() -> None:
    first = step.public_lot(BEACON, SLOT, [50, 50])
    assert [len(bits) for bits in first] == [50, 50] and not np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], step.public_lot(BEACON, SLOT, [50])[0])
    assert not np.array_equal(first[0], step.public_lot(SLOT, BEACON, [50])[0])
    assert max(int(bits.max()) for bits in first) < 2048


def test_lot_of_another_dataset_is_refused() -> None:
    case = example("glm")
    opening, noise, _ = case.openings
    for lot in (None, LotOpening((9, 5), OTHER)):
        with pytest.raises(InputError, match="other commitments"):
            glm.prove(case.statement, opening, noise, lot)
