"""The glm statement (`GLM.md`): one step of DP-SGD for a linear or logistic model on a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import (
    Cells,
    Combination,
    Constraints,
    Entry,
    Linear,
    Statement,
    Table,
    Value,
    combination,
    range_table,
)
from intertwine.zk.independent.domain import powers
from intertwine.zk.independent.noise import Noise, check_sigma, parse_update
from intertwine.zk.independent.records import Records, weight_columns
from intertwine.zk.independent.residual import MAX_LOT, Model
from intertwine.zk.independent.sampler import lot_bits
from intertwine.zk.independent.transcript import Input

UPDATE_BOUND = 1 << 31


@dataclass(frozen=True)
class Glm:
    """Public inputs of one step; update: the bytes of u."""

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    records: Records
    model: Model
    randomness: tuple[bytes, ...]
    lot_randomness: tuple[bytes, ...]
    update: bytes

    def check(self) -> None:
        """VerificationError if a public input is out of its range."""
        check_sigma(self.sigma)
        self.records.check()
        noise = self.noise
        self.model.check(self.records)
        noise.check_count()
        expected = len(self.records.pages) if self._sampled else 0
        if len(self.lot_randomness) != expected:
            raise VerificationError(
                "commitment_count",
                f"there are {len(self.lot_randomness)} commitments to lots, not {expected}.",
            )

    @property
    def _sampled(self) -> bool:
        return self.model.lot < MAX_LOT

    @property
    def _pages(self) -> range:
        return range(len(self.records.pages))

    @cached_property
    def noise(self) -> Noise:
        """The noise; VerificationError if the update is not one."""
        update = parse_update(self.update, UPDATE_BOUND, self.records.shape.columns)
        return Noise(self.beacon, self.slot, self.sigma, update, self.randomness)

    def statement(self) -> Statement:
        """The statement; call `check` first."""
        shape, model, noise = self.records.shape, self.model, self.noise
        lot = {f"lot_r[{q}]": point for q, point in enumerate(self.lot_randomness)}
        return Statement(
            name=(
                f"glm link={model.link} columns={shape.columns} label={shape.label} entries={shape.entries} "
                f"row_bound={shape.row_bound} rows={self.records.rows_text} lot={model.lot} "
                f"residual_bound={model.residual_bound} "
                f"label_factor={model.label_factor(shape)} sigma={self.sigma}"
            ),
            inputs=self._inputs(),
            points=[*self.records.points, *self.randomness, *self.lot_randomness],
            committed=noise.committed | lot,
            witness=self._witness(),
            constraints=self._constraints,
            public=self._public,
            late=[f"left[{q}]" for q in self._pages],
            linear=self._linear,
        )

    def _inputs(self) -> list[tuple[str, Input]]:
        shape, model = self.records.shape, self.model
        return [
            ("context", self.context),
            ("beacon", self.beacon),
            ("slot", self.slot),
            ("sigma", self.sigma),
            ("columns", shape.columns),
            ("row_bound", shape.row_bound),
            ("label", shape.label),
            ("entries", shape.entries),
            ("rows", self.records.rows),
            ("dataset", self.records.points),
            ("link", model.link),
            ("residual_bound", model.residual_bound),
            ("record_norm", model.record_norm),
            ("label_unit", model.label_unit),
            ("residual_norm", model.residual_norm),
            ("exponent", model.exponent),
            ("lot", model.lot),
            ("weights", model.weights),
            ("randomness", self.randomness),
            ("lot_randomness", self.lot_randomness),
            ("update", self.noise.digest),
        ]

    def _witness(self) -> list[str]:
        lot = ["lot_carry", "lot_bits", "lot_in"] if self._sampled else []
        own = [f"{name}[{q}]" for q in self._pages for name in (*lot, "high", "link", "low_0", "low_1")]
        return [*own, *self.noise.witness, *(f"g[{page}]" for page in self.noise.pages)]

    def _public(self, theta: int) -> dict[str, Sequence[int]]:
        bits = {
            f"lot_b[{q}]": lot_bits(self.beacon, self.slot, q, rows)
            for q, rows in enumerate(self.records.rows)
            if self._sampled
        }
        weights = weight_columns(powers(theta, self.records.shape.columns))
        return {**self.noise.public(), **self.records.public(), **bits, **weights}

    def _linear(self, theta: int) -> dict[str, Combination]:
        columns: dict[str, Combination] = {}
        count = self.records.shape.columns
        factors = powers(theta, count)
        for q, page in enumerate(self.records.pages):
            features, label = page.commitments[:count], page.commitments[count]
            columns[f"margin[{q}]"] = combination(self.model.weights, features)
            columns[f"y[{q}]"] = [(1, label)]
            columns[f"combined[{q}]"] = combination(factors, features)
        return columns

    def _constraints(self, cells: Cells) -> Constraints:
        gates: dict[str, Value] = {}
        entries: list[Entry] = []
        total = Linear(0, {})
        for q in self._pages:
            gates |= self._page_gates(cells, q)
            entries += self._page_entries(cells, q)
            total = total + self._page_gradient(cells, q)
        weighted = sum(cells[f"weight[{page}]"] * cells[f"g[{page}]"] for page in self.noise.pages)
        return Constraints(
            gates={**gates, **self.noise.gates(cells)},
            entries=[*entries, *self.noise.entries(cells)],
            sums={"gradient": total - weighted},
        )

    def _page_gates(self, cells: Cells, q: int) -> dict[str, Value]:
        gates: dict[str, Value] = {}
        if self._sampled:
            carry, bits = cells[f"lot_carry[{q}]"], cells[f"lot_bits[{q}]"]
            gates[f"lot_carry_boolean[{q}]"] = carry * carry - carry
            gates[f"lot_sum[{q}]"] = cells[f"lot_r[{q}]"] + cells[f"lot_b[{q}]"] - MAX_LOT * carry - bits
        factor = self.model.label_factor(self.records.shape)
        low = 2048 * cells[f"low_1[{q}]"] + cells[f"low_0[{q}]"]
        argument = cells.linear(f"margin[{q}]") - factor * cells.linear(f"y[{q}]")
        gates[f"margin[{q}]"] = argument - ((cells[f"high[{q}]"] - 1024 << 22) + low)
        gates[f"left[{q}]"] = cells[f"left[{q}]"] - cells.linear(f"combined[{q}]")
        return gates

    def _page_entries(self, cells: Cells, q: int) -> list[Entry]:
        entries = []
        if self._sampled:
            lot = Table("lot", 2, tuple((t, int(t < self.model.lot)) for t in range(MAX_LOT)))
            entries.append(Entry(f"lot[{q}]", lot, (cells[f"lot_bits[{q}]"], cells[f"lot_in[{q}]"])))
        residual = Table("residual", 3, self.model.residuals(self.records.shape))
        entries.append(Entry(f"residual[{q}]", residual, (cells[f"high[{q}]"], cells[f"link[{q}]"])))
        for name in (f"low_0[{q}]", f"low_1[{q}]"):
            entries.append(Entry(name, range_table(), (cells[name],)))
        return entries

    def _page_gradient(self, cells: Cells, q: int) -> Linear:
        """Σ_i s_i·e_i·x_i of one page, θ-combined."""
        included = cells[f"rows[{q}]"] * (cells[f"lot_in[{q}]"] if self._sampled else 1)
        residual = self.model.label_gain * cells.linear(f"y[{q}]") - cells[f"link[{q}]"]
        return included * cells[f"left[{q}]"] * residual
