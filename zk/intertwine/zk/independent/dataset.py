"""The dataset statement (`DATASET.md`): one page of records within their bounds."""

from dataclasses import dataclass
from operator import mul

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import (
    Cells,
    Combination,
    Constraints,
    Entry,
    Statement,
    Value,
    combination,
    range_table,
)
from intertwine.zk.independent.domain import DATA_ROWS, powers

LABELS = ("none", "binary", "integer")
ENTRIES = ("integer", "uniform")
MAX_COLUMNS = 1024
MAX_ROW_BOUND = 2047
OFFSET = 1024


@dataclass(frozen=True)
class Shape:
    """What all pages of a dataset share: d features of L2 norm at most row_bound, and a label.

    entries: `uniform` where every feature of a record is 0 or the record's weight.
    """

    columns: int
    row_bound: int
    label: str
    entries: str

    @property
    def names(self) -> list[str]:
        """The committed columns: features, label, weight."""
        label = ["y"] if self.label != "none" else []
        return [*self.features, *label, *(["weight"] if self.entries == "uniform" else [])]

    @property
    def features(self) -> list[str]:
        """The columns x[j]."""
        return [f"x[{j}]" for j in range(self.columns)]

    def check(self) -> None:
        """VerificationError `dataset_shape`."""
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise VerificationError("dataset_shape", f"there are not 1 to {MAX_COLUMNS} columns.")
        if not 1 <= self.row_bound <= MAX_ROW_BOUND:
            raise VerificationError("dataset_shape", f"the row bound is not from 1 to {MAX_ROW_BOUND}.")
        if self.label not in LABELS:
            raise VerificationError("dataset_shape", "the label is none of none, binary and integer.")
        if self.entries not in ENTRIES:
            raise VerificationError("dataset_shape", "entries are neither integer nor uniform.")


@dataclass(frozen=True)
class Page:
    """The commitments of up to 4088 records: features, label, weight."""

    rows: int
    commitments: tuple[bytes, ...]

    def check_rows(self) -> None:
        """VerificationError `dataset_shape`."""
        if not 1 <= self.rows <= DATA_ROWS:
            raise VerificationError("dataset_shape", f"a page does not have 1 to {DATA_ROWS} rows.")

    def check_count(self, shape: Shape) -> None:
        """VerificationError `commitment_count`."""
        given, expected = len(self.commitments), len(shape.names)
        if given != expected:
            raise VerificationError("commitment_count", f"a page has {given} commitments, not {expected}.")


@dataclass(frozen=True)
class Dataset:
    """Public inputs of one page's enrolment."""

    context: bytes
    shape: Shape
    page: Page

    def check(self) -> None:
        """VerificationError if a public input is out of its range."""
        self.shape.check()
        self.page.check_rows()
        self.page.check_count(self.shape)

    def statement(self) -> Statement:
        """The statement; call `check` first."""
        shape, page = self.shape, self.page
        return Statement(
            name=(
                f"dataset columns={shape.columns} row_bound={shape.row_bound} label={shape.label} "
                f"entries={shape.entries}"
            ),
            inputs=[
                ("context", self.context),
                ("rows", page.rows),
                ("columns", shape.columns),
                ("row_bound", shape.row_bound),
                ("label", shape.label),
                ("entries", shape.entries),
                ("commitments", page.commitments),
            ],
            points=[*page.commitments],
            committed=dict(zip(shape.names, page.commitments, strict=True)),
            witness=["slack_0", "slack_1"],
            constraints=self._constraints,
            public=lambda theta: {},
            linear=self._linear,
        )

    def _linear(self, theta: int) -> dict[str, Combination]:
        if self.shape.entries == "integer":
            return {}
        count, features = self.shape.columns, self.page.commitments[: self.shape.columns]
        return {
            "combined": combination(powers(theta, count), features),
            "total": combination([1] * count, features),
        }

    def _constraints(self, cells: Cells) -> Constraints:
        gates: dict[str, Value] = {}
        norm: Value
        squares = [cells[name] ** 2 for name in self.shape.features]
        if self.shape.entries == "uniform":
            weighted = sum(map(mul, squares, powers(cells.theta, len(squares))))
            gates["uniform"] = weighted - cells["weight"] * cells.linear("combined")
            norm = cells["weight"] * cells.linear("total")
        else:
            norm = sum(squares)
        slack = cells["slack_0"] + 2048 * cells["slack_1"]
        gates["row_norm"] = self.shape.row_bound**2 - slack - norm
        if self.shape.label == "binary":
            gates["label_boolean"] = cells["y"] ** 2 - cells["y"]
        return Constraints(gates, self._entries(cells))

    def _entries(self, cells: Cells) -> list[Entry]:
        ranged: dict[str, int] = {}
        if self.shape.entries == "integer":
            ranged = {f"feature[{j}]": cells[name] + OFFSET for j, name in enumerate(self.shape.features)}
        else:
            ranged["weight"] = cells["weight"]
        if self.shape.label == "integer":
            ranged["label"] = cells["y"] + OFFSET
        ranged |= {name: cells[name] for name in ("slack_0", "slack_1")}
        return [Entry(name, range_table(), (value,)) for name, value in ranged.items()]
