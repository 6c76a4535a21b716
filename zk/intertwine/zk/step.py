"""The arithmetic of one DP-SGD step of a generalised linear model, in integers, as GLM.md defines it.

The gradient of a record is its residual times its features. Residuals come from a public table of the
margin's top bits, so that a proof can look them up; margin, table and sum are exact.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import noise as noisy
from intertwine.zk.circuit import Table
from intertwine.zk.dataset import ENTRY_BOUND, Dataset, DatasetOpening, Shape
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.randomness import Randomness

FULL_LOT = 1 << 11
"""A lot's rate is Q/2048; Q = 2048 takes every record."""
LOW_BITS = 22
"""Low bits of a margin that its residual does not depend on."""
TABLE_ROWS = 1 << 11
MAX_RESIDUAL = 1023
MAX_PARAMETER = 2.0**64
"""Real weights of this size or more fit no scale."""
_MARGIN = 1 << 32
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_SIXTY_DIGITS = Context(prec=60)
_SATURATION = 100
"""Beyond it the logistic function is nearer to 0 or 1 than 1/2^140."""
_PURPOSE = b"lot"

Link: TypeAlias = Literal["logistic", "identity"]


@dataclass(frozen=True)
class Model:
    """What the model is and how its numbers are scaled.

    residual_bound: A, 1..1023, what a residual of 1 (logistic) or of residual_norm (identity) is in integer
    units, and the largest there is; record_norm: the real L2 norm of a record of integer norm row_bound; lot:
    Q, 1..2048, the lot's rate times 2048; label_unit: the real value of one integer unit of an integer label.
    The three real numbers are positive decimal strings, the last two `1` for logistic.
    """

    link: Link
    residual_bound: int
    record_norm: str
    lot: int = FULL_LOT
    label_unit: str = "1"
    residual_norm: str = "1"

    @property
    def label_gain(self) -> int:
        """G: how much the label adds to the negative residual."""
        return self.residual_bound if self.link == "logistic" else 0


class LotOpening:
    """The secret lot's random bits, fixed before the beacon.

    rows: records on each dataset page; commitments: one point of 48 bytes a page; proven: see NoiseOpening.
    InputError for a bad seed.
    """

    def __init__(self, rows: Sequence[int], seed: bytes, proven: Collection[bytes] = ()) -> None:
        noisy.require_32_bytes("seed", seed)
        self.proven = frozenset(proven)
        self.secrets = (seed,)
        source = Randomness(b"lot", seed, *(count.to_bytes(8, "little") for count in rows))
        streams = [source.stream(f"page{page}", 2 * count) for page, count in enumerate(rows)]
        self.random_bits = [_lot_bits(stream) for stream in streams]
        self.columns = {
            f"lot_r[{page}]": noisy.blinded_column(f"lot_r[{page}]", bits.tolist(), source)
            for page, bits in enumerate(self.random_bits)
        }
        self.commitments = noisy.commit_columns(self.columns.values())

    def __repr__(self) -> str:
        return f"LotOpening(rows={[len(bits) for bits in self.random_bits]}, secrets hidden)"

    def register(self, statement_digest: bytes) -> None:
        """Count a statement before it is proven; InputError for one distinct statement too many."""
        self.proven = noisy.register_proof(self.proven, statement_digest)

    def page_bits(
        self, page: int, beacon: bytes, slot: bytes, lot: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Carry, t and [t < lot] on all 4088 data rows of a page; a row without a record has t = 0."""
        secret = self.random_bits[page]
        shared = public_lot(beacon, slot, [len(bits) for bits in self.random_bits])[page]
        total = np.zeros(DATA_ROWS, dtype=np.int64)
        total[: len(secret)] = secret + shared
        bits = total % FULL_LOT
        return total // FULL_LOT, bits, (bits < lot).astype(np.int64)


def public_lot(beacon: bytes, slot: bytes, rows: Sequence[int]) -> list[NDArray[np.int64]]:
    """The lot's public bits, page by page: 2 bytes a record, cut to 11 bits."""
    return [
        _lot_bits(noisy.beacon_stream(beacon, slot, _PURPOSE, 0, page, 2 * count))
        for page, count in enumerate(rows)
    ]


def quantise_weights(
    parameters: NDArray[np.float64], shape: Shape, model: Model
) -> tuple[tuple[int, ...], int]:
    """Real weights, shape (columns,), as integers and the exponent of their scale 2^exponent.

    The scale is the largest power of two that keeps every possible margin below 2^32. InputError for weights
    that are not finite or too large for any scale, or a model that does not fit the records.
    """
    if not _consistent(model, shape):
        raise InputError("the model's numbers are out of range or do not fit the records' label.")
    if parameters.shape != (shape.columns,) or not np.isfinite(parameters).all():
        raise InputError("the weights are not one finite number a feature.")
    for exponent in range(64, -33, -1) if np.abs(parameters).max() < MAX_PARAMETER else ():
        scaled = [round(float(value) * 2.0**exponent) for value in parameters]
        if _fits(scaled, exponent, shape, model):
            return tuple(scaled), exponent
    raise InputError("the weights are too large.", "Restart training with a smaller learning rate.")


def exact_step(
    opening: DatasetOpening,
    model: Model,
    weights: Sequence[int],
    exponent: int,
    lot: LotOpening | None,
    beacon: bytes,
    slot: bytes,
) -> NDArray[np.int64]:
    """g = Σ s_i·e_i·x_i without noise, shape (columns,), int64; lot None takes every record."""
    negative = residuals(opening, model, weights, exponent)
    if lot is not None:
        pages = range(len(opening.pages))
        chosen = [lot.page_bits(page, beacon, slot, model.lot)[2] for page in pages]
        parts = zip(chosen, opening.pages, strict=True)
        negative = negative * np.concatenate([bits[: page.page.rows] for bits, page in parts])
    return negative @ opening.features


def residuals(
    opening: DatasetOpening, model: Model, weights: Sequence[int], exponent: int
) -> NDArray[np.int64]:
    """e_i = G·y_i - f(h_i) of every record, |e_i| ≤ A."""
    values = np.array([f for _, f in residual_table(model, opening.shape, exponent).rows])
    high = (margins(opening, model, weights, exponent) >> LOW_BITS) + TABLE_ROWS // 2
    label = 0 if opening.labels is None else model.label_gain * opening.labels
    result: NDArray[np.int64] = label - values[high]
    return result


def margins(
    opening: DatasetOpening, model: Model, weights: Sequence[int], exponent: int
) -> NDArray[np.int64]:
    """v_i = Σ_j w_j·x_ij - K·y_i of every record, below 2^32 in absolute value."""
    values = opening.features @ np.array(weights, dtype=np.int64)
    factor = label_factor(model, opening.shape, exponent)
    return values if opening.labels is None or not factor else values - factor * opening.labels


def label_factor(model: Model, shape: Shape, exponent: int) -> int:
    """K: one integer unit of the label in units of the margin; 0 for logistic."""
    if model.link == "logistic":
        return 0
    return round(Fraction(model.label_unit) * _unit(model, shape, exponent))


@lru_cache(maxsize=64)
def residual_table(model: Model, shape: Shape, exponent: int) -> Table:
    """Rows (h, f(h)) for the top bits h of a margin; f is what GLM.md says."""
    bound, step = model.residual_bound, (1 << (LOW_BITS - 1)) / _unit(model, shape, exponent)
    arguments = [(2 * high - TABLE_ROWS + 1) * step for high in range(TABLE_ROWS)]
    if model.link == "logistic":
        values = [_logistic(bound, argument) for argument in arguments]
    else:
        scale = bound / Fraction(model.residual_norm)
        values = [max(-bound, min(bound, round(scale * argument))) for argument in arguments]
    return Table("residual", 3, tuple(enumerate(values)))


def check_model(dataset: Dataset, model: Model, weights: Sequence[int], exponent: int) -> None:
    """Raise VerificationError `model_range` for a model that no proof can be about."""
    shape = dataset.shape
    if not (
        _consistent(model, shape)
        and isinstance(weights, tuple)
        and all(type(number) is int for number in (exponent, *weights))
        and len(weights) == shape.columns
        and -32 <= exponent <= 64
        and _fits(weights, exponent, shape, model)
        and dataset.rows * model.residual_bound * shape.row_bound < (1 << 31) - (1 << 19)
    ):
        raise VerificationError("model_range", "the model, its weights or its bounds are out of range.")


def _consistent(model: Model, shape: Shape) -> bool:
    """Whether the model's own numbers are in their ranges and its link fits the label."""
    logistic = (model.link, shape.label, model.label_unit, model.residual_norm)
    return (
        (logistic == ("logistic", "binary", "1", "1") or logistic[:2] == ("identity", "integer"))
        and type(model.residual_bound) is type(model.lot) is int
        and 1 <= model.residual_bound <= MAX_RESIDUAL
        and 1 <= model.lot <= FULL_LOT
        and all(map(_positive, (model.record_norm, model.label_unit, model.residual_norm)))
    )


def _fits(weights: Sequence[int], exponent: int, shape: Shape, model: Model) -> bool:
    """‖w‖·R ≤ 2^32 - 1 - 1024·K, so that no margin of an enrolled record leaves the table."""
    room = _MARGIN - 1 - ENTRY_BOUND * label_factor(model, shape, exponent)
    length = sum(weight * weight for weight in weights)
    return room >= 0 and length * shape.row_bound**2 <= room**2


def _positive(text: str) -> bool:
    return isinstance(text, str) and _DECIMAL.fullmatch(text) is not None and Fraction(text) > 0


def _unit(model: Model, shape: Shape, exponent: int) -> Fraction:
    """How many integer units of the margin are one real unit."""
    return shape.row_bound * Fraction(2) ** exponent / Fraction(model.record_norm)


def _logistic(bound: int, argument: Fraction) -> int:
    """round(bound/(1 + exp(-argument))), which is never a tie."""
    if abs(argument) > _SATURATION:
        return bound if argument > 0 else 0
    context = _SIXTY_DIGITS
    exponent = context.divide(Decimal(-argument.numerator), Decimal(argument.denominator))
    return round(context.divide(Decimal(bound), context.add(Decimal(1), context.exp(exponent))))


def _lot_bits(stream: bytes) -> NDArray[np.int64]:
    return (np.frombuffer(stream, dtype="<u2") % FULL_LOT).astype(np.int64)
