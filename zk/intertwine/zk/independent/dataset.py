"""The dataset statement (`DATASET.md`): one page of records within their bounds."""

from dataclasses import dataclass

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import Cells, Constraints, Entry, Statement, Value, range_table
from intertwine.zk.independent.domain import DATA_ROWS

LABELS = ("none", "binary", "integer")
MAX_COLUMNS = 1024
MAX_ROW_BOUND = 2047
OFFSET = 1024


@dataclass(frozen=True)
class Shape:
    """What all pages of a dataset share: d features of L2 norm at most row_bound, and a label."""

    columns: int
    row_bound: int
    label: str

    @property
    def width(self) -> int:
        """How many columns are committed: features and label."""
        return self.columns + (self.label != "none")

    def check(self) -> None:
        """VerificationError `dataset_shape`."""
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise VerificationError("dataset_shape", f"there are not 1 to {MAX_COLUMNS} columns.")
        if not 1 <= self.row_bound <= MAX_ROW_BOUND:
            raise VerificationError("dataset_shape", f"the row bound is not from 1 to {MAX_ROW_BOUND}.")
        if self.label not in LABELS:
            raise VerificationError("dataset_shape", "the label is none of none, binary and integer.")


@dataclass(frozen=True)
class Page:
    """The commitments of up to 4088 records: features, then the label if there is one."""

    rows: int
    commitments: tuple[bytes, ...]

    def check_rows(self) -> None:
        """VerificationError `dataset_shape`."""
        if not 1 <= self.rows <= DATA_ROWS:
            raise VerificationError("dataset_shape", f"a page does not have 1 to {DATA_ROWS} rows.")

    def check_count(self, shape: Shape) -> None:
        """VerificationError `commitment_count`."""
        if len(self.commitments) != shape.width:
            raise VerificationError(
                "commitment_count", f"a page has {len(self.commitments)} commitments, not {shape.width}."
            )


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
            name=f"dataset columns={shape.columns} row_bound={shape.row_bound} label={shape.label}",
            inputs=[
                ("context", self.context),
                ("rows", page.rows),
                ("columns", shape.columns),
                ("row_bound", shape.row_bound),
                ("label", shape.label),
                ("commitments", page.commitments),
            ],
            points=[*page.commitments],
            committed=dict(zip([*self._features, "y"], page.commitments, strict=False)),
            witness=["slack_0", "slack_1"],
            constraints=self._constraints,
            public=lambda theta: {},
        )

    @property
    def _features(self) -> list[str]:
        return [f"x[{j}]" for j in range(self.shape.columns)]

    def _constraints(self, cells: Cells) -> Constraints:
        squares = sum(cells[name] ** 2 for name in self._features)
        slack = cells["slack_0"] + 2048 * cells["slack_1"]
        gates: dict[str, Value] = {"row_norm": self.shape.row_bound**2 - squares - slack}
        ranged = {f"feature[{j}]": cells[name] + OFFSET for j, name in enumerate(self._features)}
        if self.shape.label == "binary":
            gates["label_boolean"] = cells["y"] ** 2 - cells["y"]
        if self.shape.label == "integer":
            ranged["label"] = cells["y"] + OFFSET
        ranged |= {name: cells[name] for name in ("slack_0", "slack_1")}
        return Constraints(gates, [Entry(name, range_table(), (value,)) for name, value in ranged.items()])
