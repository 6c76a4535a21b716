"""What the releases of a run prove, and which integer bounds the proof is about.

    release      g is any integer vector with ||g||_2 <= update_bound
    statistics   g is a sum over all enrolled records of a bounded function of each
    glm          g is one gradient step of a generalised linear model over a lot of the enrolled records

The last two are *data-bound*: g follows from records that were committed to before the run, so that the
bound on what one record contributes is proven too. Bounds are in integer units. What exactly is proven:
`zk/RELEASE.md`, `zk/STATISTICS.md`, `zk/GLM.md`.
"""

import math
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from intertwine.protocols.document import Decimal, Document

MAX_UPDATE_BOUND = 2**20 - 1  # so that every coordinate of g fits the statement's |g| < 2^20
MAX_COLUMNS = 1024
FULL_LOT = 2048

Label: TypeAlias = Literal["none", "binary", "integer"]
Entries: TypeAlias = Literal["integer", "uniform"]
"""What a record's features are: any integers, or each 0 or the record's weight."""
RowBound: TypeAlias = Annotated[int, Field(ge=1, le=2047)]

LABEL_BOUNDS: dict[Label, int] = {"none": 0, "binary": 1, "integer": 1024}
"""The largest absolute value of a label of each kind."""


class ReleaseMechanism(Document):
    """The participant computes g by itself; only the length of g is proven.

    update_bound: L2 bound on g.
    """

    statement: Literal["release"] = "release"
    update_bound: Annotated[int, Field(ge=1, le=MAX_UPDATE_BOUND)]


class StatisticsMechanism(Document):
    """g sums x_i (`one`), y_i x_i (`label`) or the entries of x_i x_i^T on and above the diagonal (`gram`).

    A gram matrix counts the label, if there is one, as a last column. row_bound: L2 bound on every x_i.
    """

    statement: Literal["statistics"] = "statistics"
    moment: Literal["sum", "gram"]
    weights: Literal["one", "label"]
    label: Label
    entries: Entries
    row_bound: RowBound

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weights == "label" and (self.label == "none" or self.moment == "gram"):
            raise ValueError("weights: 'label' needs a label, and moment 'sum'")
        return self

    def record_bound(self) -> int:
        """The L2 sensitivity of g to one record."""
        label = LABEL_BOUNDS[self.label]
        if self.moment == "gram":
            return self.row_bound**2 + label**2
        return self.row_bound * (label if self.weights == "label" else 1)

    def columns(self, dimension: int) -> int:
        """How many feature columns give a g of this dimension; ValueError if no number does."""
        if self.moment == "sum":
            return dimension
        size = (math.isqrt(8 * dimension + 1) - 1) // 2
        if size * (size + 1) // 2 != dimension:
            raise ValueError("dimension: a gram matrix of D columns has D (D + 1) / 2 entries")
        return size - (self.label != "none")


class GlmMechanism(Document):
    """g sums s_i e_i x_i: s_i says whether record i is in the secret lot, e_i is its residual.

    link: `logistic` with binary labels, or `identity` (least squares) with integer labels.
    residual_bound: bound on |e_i|, row_bound: L2 bound on every x_i. lot: every record is in the lot with
    probability lot / 2048, independently (Poisson sampling); 2048 takes all. label_unit: what a label of 1
    stands for, residual_norm: the real residual that residual_bound stands for; both 1 if logistic.
    """

    statement: Literal["glm"] = "glm"
    link: Literal["logistic", "identity"]
    label: Literal["binary", "integer"]
    entries: Entries
    row_bound: RowBound
    residual_bound: Annotated[int, Field(ge=1, le=1023)]
    lot: Annotated[int, Field(ge=1, le=FULL_LOT)]
    label_unit: Decimal
    residual_norm: Decimal

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.link == "logistic") != (self.label == "binary"):
            raise ValueError("label: must be 'binary' for link 'logistic', and 'integer' for 'identity'")
        if self.link == "logistic" and (self.label_unit, self.residual_norm) != ("1", "1"):
            raise ValueError("label_unit, residual_norm: must be 1 for link 'logistic'")
        if not (float(self.label_unit) > 0 and float(self.residual_norm) > 0):
            raise ValueError("label_unit, residual_norm: must be positive")
        return self

    @property
    def sampled(self) -> bool:
        """Whether the lot is a random part of the records, which is what amplification rests on."""
        return self.lot < FULL_LOT

    def record_bound(self) -> int:
        """The L2 sensitivity of g to one record."""
        return self.residual_bound * self.row_bound

    def columns(self, dimension: int) -> int:
        """How many feature columns give a g of this dimension."""
        return dimension


DataBound: TypeAlias = StatisticsMechanism | GlmMechanism
Mechanism: TypeAlias = Annotated[
    ReleaseMechanism | StatisticsMechanism | GlmMechanism, Field(discriminator="statement")
]
