"""What a statement says about its columns, evaluated at one point (`ARGUMENT.md` section 2).

A statement is read twice: on zeros, for the names that the circuit digest covers, and on the values at ζ.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Union

from intertwine.zk.independent.transcript import Input


@dataclass(frozen=True)
class Linear:
    """constant + Σ factor·column over linear columns: all that is known of them before their opening."""

    constant: int
    factors: Mapping[str, int]

    def __add__(self, other: Union[int, "Linear"]) -> "Linear":
        if isinstance(other, int):
            return Linear(self.constant + other, self.factors)
        names = {**self.factors, **other.factors}
        return Linear(
            self.constant + other.constant,
            {name: self.factors.get(name, 0) + other.factors.get(name, 0) for name in names},
        )

    def __mul__(self, factor: int) -> "Linear":
        return Linear(self.constant * factor, {name: factor * own for name, own in self.factors.items()})

    def __sub__(self, other: Union[int, "Linear"]) -> "Linear":
        return self + -1 * other

    def __rsub__(self, other: int) -> "Linear":
        return -1 * self + other

    __radd__ = __add__
    __rmul__ = __mul__


Value = int | Linear
# Σ factor·commitment, commitments by their encodings.
Combination = list[tuple[int, bytes]]


def combination(factors: Iterable[int], points: Iterable[bytes]) -> Combination:
    """Σ factor·commitment; lengths must be equal."""
    return list(zip(factors, points, strict=True))


@dataclass(frozen=True)
class Table:
    """A public table; `tag` tells its rows from those of every other table."""

    name: str
    tag: int
    rows: tuple[tuple[int, ...], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows in decimal, hexadecimal."""
        lines = (",".join(map(str, row)) for row in self.rows)
        return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


@lru_cache(maxsize=1)
def range_table() -> Table:
    """`range`: 0 … 2047."""
    return Table("range", 0, tuple((value,) for value in range(2048)))


@dataclass(frozen=True)
class Entry:
    """A lookup: the tuple `values` is a row of the table on every data row."""

    name: str
    table: Table
    values: tuple[int, ...]


@dataclass(frozen=True)
class Constraints:
    """A statement's own gates, entries and sums at one point, each in their order."""

    gates: dict[str, Value] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    sums: dict[str, Value] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        """The tables in the order of first use."""
        return list({entry.table.name: entry.table for entry in self.entries}.values())


@dataclass(frozen=True)
class Cells:
    """The columns at one point: values of opened and public columns, names of linear ones; and θ."""

    value: Callable[[str], int]
    theta: int

    def __getitem__(self, name: str) -> int:
        return self.value(name)

    def linear(self, name: str) -> Linear:
        """A linear column, whose value is not known."""
        return Linear(0, {name: 1})


def _no_columns(theta: int) -> dict[str, Combination]:
    """No linear columns."""
    return {}


@dataclass(frozen=True)
class Statement:
    """What is public about one statement, its columns and its constraints.

    name: the circuit's name line. inputs: the public inputs in the transcript's order.
    points: every commitment. committed: commitments by column. witness, late: names of columns.
    constraints: the constraints evaluated on cells.
    public: for θ, the rows of public columns from row 0; rows not given are 0.
    linear: for θ, each linear column as a combination of commitments.
    """

    name: str
    inputs: list[tuple[str, Input]]
    points: list[bytes]
    committed: dict[str, bytes]
    witness: list[str]
    constraints: Callable[[Cells], Constraints]
    public: Callable[[int], Mapping[str, Sequence[int]]]
    late: list[str] = field(default_factory=list)
    linear: Callable[[int], Mapping[str, Combination]] = _no_columns


@dataclass(frozen=True)
class Circuit:
    """The names of a statement's columns and constraints, which do not depend on any challenge."""

    statement: Statement
    constraints: Constraints

    @classmethod
    def of(cls, statement: Statement) -> "Circuit":
        """Read a statement on zeros."""
        return cls(statement, statement.constraints(Cells(lambda _name: 0, theta=0)))

    @property
    def first_message(self) -> list[str]:
        """Columns committed before α: witness and multiplicities."""
        return [*self.statement.witness, *(f"{table.name}.multiplicity" for table in self.constraints.tables)]

    @property
    def second_message(self) -> list[str]:
        """Columns committed after κ: late, helpers, sum."""
        helpers = -(-len(self.constraints.entries) // 3)
        return [*self.statement.late, *(f"helper_{k}" for k in range(helpers)), "sum"]

    @property
    def opened(self) -> list[str]:
        """Columns whose value at ζ is part of the proof, in its order."""
        return [*self.statement.committed, *self.first_message, *self.second_message]

    def digest(self) -> bytes:
        """SHA-256 of the description of the circuit, 32 bytes."""
        own = self.constraints
        lines = [
            ["circuit", self.statement.name],
            ["committed", *self.statement.committed],
            ["linear", *self.statement.linear(0)],
            ["witness", *self.statement.witness],
            ["late", *self.statement.late],
            *(["table", table.name, str(table.tag), table.digest] for table in own.tables),
            ["gates", *own.gates],
            ["lookups", *(entry.name for entry in own.entries)],
            ["sums", *own.sums],
        ]
        return hashlib.sha256("\n".join(" ".join(line) for line in lines).encode("ascii")).digest()
