"""The dataset statement: enrolled records are small integers, rows have a bounded norm, labels a known range.

A participant commits to its records once, column by column and page by page; every statistics and glm proof
then speaks of exactly these records. Constraints: DATASET.md. What is not proven: that the records are true,
that none occurs twice, or that they were not enrolled before under another name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import field
from intertwine.zk import noise as noisy
from intertwine.zk.circuit import Challenges, Circuit, Gate, Lookup
from intertwine.zk.domain import BLINDING_ROWS, DATA_ROWS
from intertwine.zk.expression import Cell, Challenge, Expression, total
from intertwine.zk.field import MODULUS
from intertwine.zk.instance import Instance, numbered
from intertwine.zk.noise import LIMB_BITS, RANGE
from intertwine.zk.prover import Progress, Witness
from intertwine.zk.randomness import Randomness
from intertwine.zk.verifier import Combination

MAX_COLUMNS = 1024
MAX_ROW_BOUND = 2047
ENTRY_BOUND = 1 << 10
"""Features and integer labels lie in [-1024, 1023]."""

_BLOCK = 32
_LIMB = (1 << 30) - 1
_SHIFTS = range(0, 270, 30)

Label: TypeAlias = Literal["none", "binary", "integer"]
Entries: TypeAlias = Literal["integer", "uniform"]
LABEL_BOUND: dict[str, int] = {"none": 0, "binary": 1, "integer": ENTRY_BOUND}
"""Largest absolute value of each kind of label."""

CHECKS = numbered(
    ("dataset_shape", "rows, columns, row_bound, label and entries are in their ranges"),
    (
        "commitment_count",
        "there is one commitment per feature, one for the label, if any, and one for the weight, if uniform",
    ),
)


@dataclass(frozen=True)
class Shape:
    """What the records of a dataset look like.

    columns: features a record, 1..1024; row_bound: R, largest L2 norm of a record's features, 1..2047;
    entries: any integers, or `uniform`: all of a record's features that are not 0 are equal to its weight.
    """

    columns: int
    row_bound: int
    label: Label
    entries: Entries = "integer"

    @property
    def variables(self) -> int:
        """Features, and the label if there is one."""
        return self.columns + (self.label != "none")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a page: x[0], …, then y if there is a label, then weight if entries are uniform."""
        names = [f"x[{column}]" for column in range(self.columns)]
        names += ["y"] if self.label != "none" else []
        names += ["weight"] if self.entries == "uniform" else []
        return tuple(names)


@dataclass(frozen=True)
class Page:
    """At most 4088 records. commitments: 48 bytes each, in the order of Shape.names."""

    rows: int
    commitments: tuple[bytes, ...]


@dataclass(frozen=True)
class Dataset:
    """What is public of enrolled records: the pages in order."""

    shape: Shape
    pages: tuple[Page, ...]

    @property
    def rows(self) -> int:
        """How many records there are."""
        return sum(page.rows for page in self.pages)


@dataclass(frozen=True)
class PageStatement:
    """A page and, in `context`, canonical bytes of whose it is (deployment, participant, key, place, …)."""

    context: bytes
    shape: Shape
    page: Page


@dataclass(frozen=True, eq=False)
class PageOpening:
    """The secret behind one page.

    table: shape (rows, columns), int64, in the order of Shape.names; blinding: 8 field elements a column;
    secret: keys the randomness of proofs about the page.
    """

    page: Page
    table: NDArray[np.int64]
    blinding: tuple[tuple[int, ...], ...]
    secret: bytes

    def __repr__(self) -> str:
        return f"PageOpening(rows={self.page.rows}, secrets hidden)"

    def columns(self, shape: Shape) -> dict[str, list[int]]:
        """The columns by name, 4096 rows each."""
        padding = [0] * (DATA_ROWS - len(self.table))
        parts = zip(shape.names, self.table.T, self.blinding, strict=True)
        return {name: [*values.tolist(), *padding, *blinding] for name, values, blinding in parts}

    def combine(self, weights: Sequence[int], start: int = 0) -> list[int]:
        """Σ weights[j]·column_(start+j) mod r, all 4096 rows; weights in [0, r).

        Entries are below 2^10 and there are at most 2^10 columns: sums of 30-bit limbs of the weights are
        exact in float64.
        """
        stop = start + len(weights)
        limbs = np.array(
            [[weight >> shift & _LIMB for shift in _SHIFTS] for weight in weights], dtype=np.float64
        )
        parts = (self.table[:, start:stop].astype(np.float64) @ limbs).astype(np.int64).tolist()
        rows = [
            sum(part << shift for part, shift in zip(row, _SHIFTS, strict=True)) % MODULUS for row in parts
        ]
        hidden = zip(*self.blinding[start:stop], strict=True)
        return [
            *rows,
            *[0] * (DATA_ROWS - len(rows)),
            *(
                sum(weight * value for weight, value in zip(weights, row, strict=True)) % MODULUS
                for row in hidden
            ),
        ]


@dataclass(frozen=True, eq=False)
class DatasetOpening:
    """The secret behind a dataset. features: shape (n, d), int64; labels: shape (n,), int64, or None."""

    shape: Shape
    features: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    pages: tuple[PageOpening, ...]

    def __repr__(self) -> str:
        return f"DatasetOpening({self.shape}, rows={len(self.features)}, secrets hidden)"

    @property
    def dataset(self) -> Dataset:
        """What is public."""
        return Dataset(self.shape, tuple(opening.page for opening in self.pages))

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Key the randomness of proofs about the dataset."""
        return tuple(opening.secret for opening in self.pages)

    @staticmethod
    def concatenate(openings: Sequence["DatasetOpening"]) -> "DatasetOpening":
        """Records that were committed one after the other, as one dataset; InputError if shapes differ."""
        first = openings[0]
        if any(opening.shape != first.shape for opening in openings):
            raise InputError("the parts of a dataset differ in shape.", "Commit all records anew.")
        labels = [opening.labels for opening in openings if opening.labels is not None]
        return DatasetOpening(
            first.shape,
            np.concatenate([opening.features for opening in openings]),
            np.concatenate(labels) if labels else None,
            tuple(page for opening in openings for page in opening.pages),
        )


def commit_dataset(
    features: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    shape: Shape,
    seed: bytes,
    known: Sequence[bytes] = (),
) -> DatasetOpening:
    """Fix records; the same records and seed give the same commitments.

    features: shape (n, columns), int64 in [-1024, 1023], rows of norm at most row_bound; labels: shape (n,),
    int64 in the label's range, or None; seed: 32 secret bytes, fresh for all records. known: what an earlier
    call for the same records and seed has committed to, page by page; it is believed, and saves most of the
    time. InputError names the first row that does not fit.
    """
    noisy.require_32_bytes("seed", seed)
    _check_records(features, labels, shape)
    parts = [features] if labels is None else [features, labels]
    table = np.column_stack([*parts, features.max(axis=1)] if shape.entries == "uniform" else parts)
    if known and len(known) != len(shape.names) * -(-len(table) // DATA_ROWS):
        raise InputError("the known commitments are not those of these records.", "Commit without them.")
    pages: list[PageOpening] = []
    for start in range(0, len(table), DATA_ROWS):
        part = table[start : start + DATA_ROWS]
        place = (number.to_bytes(8, "little") for number in (start, shape.columns))
        source = Randomness(b"dataset", seed, *place, part.astype("<i2").tobytes())
        blinding = tuple(tuple(source.scalars(name, BLINDING_ROWS)) for name in shape.names)
        opening = PageOpening(Page(len(part), ()), part, blinding, source.stream("proofs", 32))
        first = len(pages) * len(shape.names)
        commitments = tuple(known[first : first + len(shape.names)])
        commitments = commitments or noisy.commit_columns(opening.columns(shape).values())
        pages.append(replace(opening, page=Page(len(part), commitments)))
    return DatasetOpening(shape, features.copy(), None if labels is None else labels.copy(), tuple(pages))


def prove_page(
    statement: PageStatement, opening: DatasetOpening, index: int, progress: Progress | None = None
) -> bytes:
    """Prove page `index` of a dataset; the same statement gives the same bytes.

    Each distinct statement opens the page's columns once more; prove at most MAX_PROOFS for one page.
    progress: called with the fraction done. Raises InputError if the page is another one.
    """
    page = opening.pages[index]
    if statement.page != page.page or statement.shape != opening.shape:
        raise InputError("the statement is about another page.", "Prove the page it came from.")
    try:
        instance = instance_of(statement)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    return instance.prove(witness_of(statement, page), progress)


def verify_page(statement: PageStatement, proof: bytes) -> None:
    """Verify a page by the numbered CHECKS, in their order; VerificationError names the first that fails."""
    instance_of(statement).verify(proof)


def check_shape(shape: Shape) -> None:
    """Raise VerificationError `dataset_shape` for a shape out of range."""
    if not (
        type(shape.columns) is type(shape.row_bound) is int
        and 1 <= shape.columns <= MAX_COLUMNS
        and 1 <= shape.row_bound <= MAX_ROW_BOUND
        and isinstance(shape.label, str)
        and shape.label in LABEL_BOUND
        and shape.entries in ("integer", "uniform")
    ):
        raise VerificationError("dataset_shape", "the dataset's columns, bound or label are out of range.")


def check_dataset(dataset: Dataset) -> None:
    """Raise VerificationError `dataset_shape` or `commitment_count` for a dataset that cannot be."""
    shape, pages = dataset.shape, dataset.pages
    check_shape(shape)
    if not (
        isinstance(pages, tuple)
        and pages
        and all(isinstance(page, Page) and type(page.rows) is int for page in pages)
        and all(1 <= page.rows <= DATA_ROWS for page in pages)
    ):
        raise VerificationError("dataset_shape", f"the dataset's pages do not have 1 to {DATA_ROWS} rows.")
    for page in dataset.pages:
        noisy.check_count(page.commitments, len(shape.names))


@lru_cache(maxsize=16)
def dataset_circuit(shape: Shape) -> Circuit:
    """Small entries, Σ x² ≤ R² in every row, labels in their range."""
    uniform = shape.entries == "uniform"
    gates, lookups = _uniform_entries(shape) if uniform else _integer_entries(shape)
    label = Cell("y")
    if shape.label == "binary":
        gates.append(Gate("label_boolean", label * label - label))
    elif shape.label == "integer":
        lookups.append(Lookup("label", RANGE, (label + ENTRY_BOUND,)))
    return Circuit(
        name=f"dataset columns={shape.columns} row_bound={shape.row_bound} label={shape.label} "
        f"entries={shape.entries}",
        committed=shape.names,
        linear=("combined", "total") if uniform else (),
        witness=("slack_0", "slack_1"),
        late=(),
        gates=tuple(gates),
        lookups=(*lookups, *(Lookup(name, RANGE, (Cell(name),)) for name in ("slack_0", "slack_1"))),
        sums=(),
    ).check_shape()


def _integer_entries(shape: Shape) -> tuple[list[Gate], list[Lookup]]:
    """Every entry is looked up."""
    features = [Cell(f"x[{column}]") for column in range(shape.columns)]
    lookups = [Lookup(f"feature[{column}]", RANGE, (x + ENTRY_BOUND,)) for column, x in enumerate(features)]
    return [_norm_gate(shape, total([x * x for x in features]))], lookups


def _uniform_entries(shape: Shape) -> tuple[list[Gate], list[Lookup]]:
    """Σ θ^j·x_j·(x_j - weight) = 0 for θ drawn after the columns, so that each x_j is 0 or the weight.

    Then Σ x_j² = weight·Σ x_j, and only the weight is looked up.
    """
    weight = Cell("weight")
    columns = [Cell(f"x[{column}]") for column in range(shape.columns)]
    squares = _powers_of_theta([x * x for x in columns])
    gates = [
        Gate("uniform", squares - weight * Cell("combined")),
        _norm_gate(shape, weight * Cell("total")),
    ]
    return gates, [Lookup("weight", RANGE, (weight,))]


def _powers_of_theta(terms: Sequence[Expression]) -> Expression:
    """Σ θ^j·terms[j] by Horner's rule, block by block: Python could not descend a nest a thousand deep."""
    theta = Challenge("theta")
    step: Expression = theta
    for _ in range(_BLOCK.bit_length() - 1):
        step = step * step
    starts = range(0, len(terms), _BLOCK)
    return _horner(step, [_horner(theta, terms[start : start + _BLOCK]) for start in starts])


def _horner(point: Expression, terms: Sequence[Expression]) -> Expression:
    result = terms[-1]
    for term in reversed(terms[:-1]):
        result = point * result + term
    return result


def _norm_gate(shape: Shape, norm: Expression) -> Gate:
    return Gate("row_norm", shape.row_bound**2 - norm - Cell("slack_0") - (1 << LIMB_BITS) * Cell("slack_1"))


def instance_of(statement: PageStatement) -> Instance:
    """The statement's instance, after checks 1 and 2 and that of the commitments' encoding."""
    page, shape = statement.page, statement.shape
    noisy.require_bytes("context", statement.context)
    check_dataset(Dataset(shape, (page,)))
    inputs = (
        ("context", statement.context),
        ("rows", page.rows),
        ("columns", shape.columns),
        ("row_bound", shape.row_bound),
        ("label", shape.label),
        ("entries", shape.entries),
        ("commitments", page.commitments),
    )
    committed = noisy.decode_commitments(shape.names, page.commitments)
    features = [committed[name] for name in shape.names[: shape.columns]]

    def linear(challenges: Challenges) -> dict[str, Combination]:
        return {name: (features, factors) for name, factors in _linear_factors(shape, challenges).items()}

    return Instance(dataset_circuit(shape), inputs, committed, lambda challenges: {}, linear)


def witness_of(statement: PageStatement, page: PageOpening) -> Witness:
    """The columns that satisfy the statement if every row has a norm of at most R."""
    shape = statement.shape
    features = np.zeros((DATA_ROWS, shape.columns), dtype=np.int64)
    features[: len(page.table)] = page.table[:, : shape.columns]
    room = np.maximum(shape.row_bound**2 - (features * features).sum(axis=1), 0)
    low, high = noisy.split(room, 2)
    slack = {"slack_0": low.tolist(), "slack_1": high.tolist()}

    def linear(challenges: Challenges) -> dict[str, list[int]]:
        return {name: page.combine(factors) for name, factors in _linear_factors(shape, challenges).items()}

    return Witness(page.columns(shape), slack, (page.secret,), linear=linear)


def _linear_factors(shape: Shape, challenges: Challenges) -> dict[str, list[int]]:
    """By linear column: the factors of the features."""
    if shape.entries == "integer":
        return {}
    return {"combined": field.powers(challenges["theta"], shape.columns), "total": [1] * shape.columns}


def _check_records(features: NDArray[np.int64], labels: NDArray[np.int64] | None, shape: Shape) -> None:
    try:
        check_shape(shape)
    except VerificationError as error:
        raise InputError(error.problem, error.remedy) from error
    if features.dtype != np.int64 or features.ndim != 2 or not len(features):
        raise InputError(
            "features are not a table of signed 64-bit integers.", "Convert them to numpy int64."
        )
    if features.shape[1] != shape.columns:
        raise InputError(f"features have {features.shape[1]} columns instead of {shape.columns}.")
    _require_rows(np.abs(features + 0.5).max(axis=1) < ENTRY_BOUND, "a feature outside [-1024, 1023]")
    _require_rows((features * features).sum(axis=1) <= shape.row_bound**2, "a norm above row_bound")
    if shape.entries == "uniform":
        weights = np.maximum(features.max(axis=1, keepdims=True), 0)
        _require_rows(((features == 0) | (features == weights)).all(axis=1), "features of different weights")
    if (labels is None) != (shape.label == "none"):
        raise InputError(f"labels do not fit the label kind {shape.label!r}.", "Pass them, or choose none.")
    if labels is not None:
        low, high = (0, 1) if shape.label == "binary" else (-ENTRY_BOUND, ENTRY_BOUND - 1)
        if labels.dtype != np.int64 or labels.shape != (len(features),):
            raise InputError("labels are not one signed 64-bit integer a record.", "Convert them.")
        _require_rows((low <= labels) & (labels <= high), f"a label outside [{low}, {high}]")


def _require_rows(fits: NDArray[np.bool_], problem: str) -> None:
    if not fits.all():
        raise InputError(
            f"record {int(np.argmin(fits))} has {problem}.", "Clip the records before committing."
        )
