"""The statistics statement (`STATISTICS.md`): a noised sum over all records of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import (
    Cells,
    Combination,
    Constraints,
    Linear,
    Statement,
    Value,
    combination,
)
from intertwine.zk.independent.domain import MODULUS, powers
from intertwine.zk.independent.noise import Noise, check_sigma, parse_update
from intertwine.zk.independent.records import Records, weight_columns

KINDS = {("sum", "one"), ("sum", "label"), ("gram", "one")}
UPDATE_BOUND = 1 << 31


@dataclass(frozen=True)
class Statistics:
    """Public inputs of one noised sum; update: the bytes of u."""

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    records: Records
    moment: str
    weights: str
    randomness: tuple[bytes, ...]
    update: bytes

    def check(self) -> None:
        """VerificationError if a public input is out of its range."""
        check_sigma(self.sigma)
        self.records.check()
        update = self.noise.update
        if (self.moment, self.weights) not in KINDS:
            raise VerificationError(
                "statistic_known", "moment and weights are not sum one, sum label or gram one."
            )
        if self.weights == "label" and self.records.shape.label == "none":
            raise VerificationError("statistic_known", "label weights need a label.")
        if len(update) != self.dimension:
            raise VerificationError(
                "update_encoding", f"the update has {len(update)} entries, not {self.dimension}."
            )
        self.noise.check_count()

    @property
    def side(self) -> int:
        """D: how many columns of the dataset enter the moment."""
        shape = self.records.shape
        return shape.columns + (self.moment == "gram" and shape.label != "none")

    @property
    def dimension(self) -> int:
        """The length of g."""
        return self.side * (self.side + 1) // 2 if self.moment == "gram" else self.side

    @cached_property
    def noise(self) -> Noise:
        """The noise; VerificationError if the update is not one."""
        update = parse_update(self.update, UPDATE_BOUND)
        return Noise(self.beacon, self.slot, self.sigma, update, self.randomness)

    def statement(self) -> Statement:
        """The statement; call `check` first."""
        shape, noise = self.records.shape, self.noise
        return Statement(
            name=(
                f"statistics moment={self.moment} weights={self.weights} columns={shape.columns} "
                f"label={shape.label} entries={shape.entries} row_bound={shape.row_bound} "
                f"rows={self.records.rows_text} sigma={self.sigma}"
            ),
            inputs=[
                ("context", self.context),
                ("beacon", self.beacon),
                ("slot", self.slot),
                ("sigma", self.sigma),
                ("columns", shape.columns),
                ("row_bound", shape.row_bound),
                ("label", shape.label),
                ("entries", shape.entries),
                ("moment", self.moment),
                ("weights", self.weights),
                ("rows", self.records.rows),
                ("dataset", self.records.points),
                ("randomness", self.randomness),
                ("update", noise.digest),
            ],
            points=[*self.records.points, *self.randomness],
            committed=noise.committed,
            witness=[*noise.witness, *(f"g[{page}]" for page in noise.pages)],
            constraints=self._constraints,
            public=self._public,
            late=self._late,
            linear=self._linear,
        )

    @property
    def _late(self) -> list[str]:
        if (self.moment, self.weights) == ("sum", "one"):
            return []
        return [f"left[{q}]" for q in range(len(self.records.pages))]

    def _public(self, theta: int) -> dict[str, Sequence[int]]:
        return {**self.noise.public(), **self.records.public(), **weight_columns(self._coefficients(theta))}

    def _linear(self, theta: int) -> dict[str, Combination]:
        columns: dict[str, Combination] = {}
        factors = powers(theta, self.side)
        for q, page in enumerate(self.records.pages):
            columns[f"combined[{q}]"] = combination(factors, page.commitments[: self.side])
        factors = powers(pow(theta, self.side, MODULUS), self.side)
        for q, page in enumerate(self.records.pages):
            if self.moment == "gram":
                columns[f"other[{q}]"] = combination(factors, page.commitments[: self.side])
            elif self.weights == "label":
                columns[f"y[{q}]"] = [(1, page.commitments[self.side])]
        return columns

    def _constraints(self, cells: Cells) -> Constraints:
        gates: dict[str, Value] = {**self.noise.gates(cells)}
        for q, name in enumerate(self._late):
            gates[name] = cells[name] - cells.linear(f"combined[{q}]")
        total = sum((self._moment(cells, q) for q in range(len(self.records.pages))), start=Linear(0, {}))
        weighted = sum(cells[f"weight[{page}]"] * cells[f"g[{page}]"] for page in self.noise.pages)
        return Constraints(gates, self.noise.entries(cells), {"total": total - weighted})

    def _moment(self, cells: Cells, q: int) -> Linear:
        """One page's term of the sum, θ-combined over the entries of g."""
        rows = cells[f"rows[{q}]"]
        if self.moment == "gram":
            return rows * cells[f"left[{q}]"] * cells.linear(f"other[{q}]")
        if self.weights == "label":
            return rows * cells[f"left[{q}]"] * cells.linear(f"y[{q}]")
        return rows * cells.linear(f"combined[{q}]")

    def _coefficients(self, theta: int) -> list[int]:
        """c: with them Σ_j c_j·g_j is the θ-combination of what the records sum to."""
        side = self.side
        if self.moment == "sum":
            return powers(theta, side)
        power = powers(theta, side * side)
        return [
            power[j + side * k] + power[k + side * j] if j < k else power[j + side * j]
            for j in range(side)
            for k in range(j, side)
        ]
