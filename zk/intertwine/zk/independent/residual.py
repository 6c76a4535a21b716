"""The model of a glm statement: residuals as a table of exactly rounded integers (`GLM.md`)."""

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.dataset import Shape
from intertwine.zk.independent.records import Records

LABEL_OF_LINK = {"logistic": "binary", "identity": "integer"}
MAX_RESIDUAL_BOUND = 1023
MAX_LOT = 2048
EXPONENTS = range(-32, 65)
TABLE_ROWS = 2048
MAX_MARGIN = (1 << 32) - 1
MAX_LABEL = 1024
MAX_GRADIENT = (1 << 31) - (1 << 19)
# Every number of this form has an exact value of moderate size.
DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?")
# Beyond this, the logistic function is nearer to 0 or 1 than any rounding to A ≤ 1023 can see.
SATURATION = 100
SIXTY_DIGITS = Context(prec=60)


@dataclass(frozen=True)
class Model:
    """The public numbers of one step; weights: 2^exponent times the real ones; decimals as their text."""

    link: str
    residual_bound: int
    record_norm: str
    label_unit: str
    residual_norm: str
    exponent: int
    lot: int
    weights: tuple[int, ...]

    def check(self, records: Records) -> None:
        """VerificationError `model_range`."""
        shape = records.shape
        decimals = (self.record_norm, self.label_unit, self.residual_norm)
        self._require(
            LABEL_OF_LINK.get(self.link) == shape.label,
            "link and label are logistic binary or identity integer",
        )
        self._require(1 <= self.residual_bound <= MAX_RESIDUAL_BOUND, "residual_bound is from 1 to 1023")
        self._require(
            all(DECIMAL.fullmatch(text) and Fraction(text) > 0 for text in decimals),
            "record_norm, label_unit and residual_norm are positive decimals",
        )
        self._require(
            self.link != "logistic" or decimals[1:] == ("1", "1"),
            "label_unit and residual_norm are 1 for logistic",
        )
        self._require(self.exponent in EXPONENTS, "exponent is from -32 to 64")
        self._require(1 <= self.lot <= MAX_LOT, "lot is from 1 to 2048")
        self._require(len(self.weights) == shape.columns, "there is one weight per column")
        room = MAX_MARGIN - MAX_LABEL * self.label_factor(shape)
        squares = sum(weight * weight for weight in self.weights)
        self._require(
            room >= 0 and squares * shape.row_bound**2 <= room**2, "every margin fits into the table"
        )
        gradient = records.count * self.residual_bound * shape.row_bound
        self._require(gradient < MAX_GRADIENT, "records · residual_bound · row_bound fits into the update")

    @property
    def label_gain(self) -> int:
        """G: what a label of 1 adds to the residual."""
        return self.residual_bound if self.link == "logistic" else 0

    def label_factor(self, shape: Shape) -> int:
        """K: what a label of 1 takes from the margin, in the margin's units."""
        if self.link == "logistic":
            return 0
        return round(Fraction(self.label_unit) * self._unit(shape))

    def residuals(self, shape: Shape) -> tuple[tuple[int, int], ...]:
        """Rows (h, f(h)) of the table `residual`."""
        step = (1 << 21) / self._unit(shape)
        return _residuals(self.link, self.residual_bound, step, Fraction(self.residual_norm))

    def _unit(self, shape: Shape) -> Fraction:
        """R·2^E/c: integer units of the margin in one real unit."""
        return shape.row_bound * Fraction(2) ** self.exponent / Fraction(self.record_norm)

    def _require(self, condition: object, rule: str) -> None:
        if not condition:
            raise VerificationError("model_range", f"it does not hold that {rule}.")


@lru_cache(maxsize=4)
def _residuals(link: str, bound: int, step: Fraction, norm: Fraction) -> tuple[tuple[int, int], ...]:
    arguments = [(2 * h - (TABLE_ROWS - 1)) * step for h in range(TABLE_ROWS)]
    if link == "logistic":
        return tuple((h, _logistic(bound, argument)) for h, argument in enumerate(arguments))
    clipped = (min(bound, max(-bound, round(bound * argument / norm))) for argument in arguments)
    return tuple(enumerate(clipped))


def _logistic(bound: int, argument: Fraction) -> int:
    """round(bound/(1 + exp(−argument))), computed with 60 digits, as the page prescribes."""
    if abs(argument) > SATURATION:
        return bound if argument > 0 else 0
    context = SIXTY_DIGITS
    exponent = context.divide(Decimal(-argument.numerator), Decimal(argument.denominator))
    value = context.divide(Decimal(bound), context.add(Decimal(1), context.exp(exponent)))
    return int(value.to_integral_value())
