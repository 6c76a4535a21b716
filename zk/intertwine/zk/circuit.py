"""A statement's constraints, described once: columns, gates, lookups and sums, shared by prover and verifier.

A gate says: on every data row its expression is 0. A lookup says: on every data row its entry is a row of a
public table. A sum says: an expression's values on the data rows add up to 0. Lookups become gates by the
logarithmic derivative (Haböck, "Multivariate lookups based on logarithmic derivatives", 2022): for
challenges α and β drawn after all values and multiplicities are committed, Σ 1/(α - entry) = Σ
multiplicity/(α - table row), three entries to a helper column; one running sum then serves all lookups and
sums, weighted by powers of κ. Degrees, order and encodings: ARGUMENT.md.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from intertwine.zk import field
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.expression import Cell, Challenge, Constant, Expression, total

MAX_DEGREE = 4
"""Of a gate: the quotient then has three chunks of 4095 coefficients and a rest of at most 8."""

CHUNKS = 4
GROUP = 3
"""Entries to a helper column: as many as the degree allows."""

FIRST, END = "row_first", "row_end"
"""Public columns that every circuit has: 1 on row 0, and on row 4088."""

SUM = "sum"

_ALPHA, _BETA = Challenge("alpha"), Challenge("beta")

Challenges: TypeAlias = Mapping[str, int]
Leaf: TypeAlias = Callable[[Cell | Challenge], Any]
"""The value of a cell or challenge in some ring that understands integers."""


@dataclass(frozen=True)
class Gate:
    """`expression` vanishes on every data row."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class Table:
    """A public table; `tag` keeps its rows apart from those of every other table of the circuit."""

    name: str
    tag: int
    rows: tuple[tuple[int, ...], ...]

    @cached_property
    def columns(self) -> list[Any]:
        """A one for every row, then the rows' entries, entry by entry.

        Written as coefficients of polynomials, which python-flint multiplies by a number in one call.
        """
        ones = (1,) * len(self.rows)
        return [field.polynomial(list(entries)) for entries in (ones, *zip(*self.rows, strict=True))]

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the rows in decimal: entries joined by commas, rows by newlines."""
        text = "\n".join(",".join(map(str, row)) for row in self.rows)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Lookup:
    """An entry of expressions of degree at most 1, as wide as the table."""

    name: str
    table: Table
    entry: tuple[Expression, ...]


@dataclass(frozen=True)
class Circuit:
    """A statement of one shape.

    name: with all parameters of the shape; committed: columns whose commitments belong to the statement;
    linear: columns known by a commitment alone, never opened, which occur only linearly; witness: columns
    committed in the proof; late: columns committed after the first challenges. Names are unique.
    """

    name: str
    committed: tuple[str, ...]
    linear: tuple[str, ...]
    witness: tuple[str, ...]
    late: tuple[str, ...]
    gates: tuple[Gate, ...]
    lookups: tuple[Lookup, ...]
    sums: tuple[Gate, ...]

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables looked up, in the order of their first use."""
        return tuple({lookup.table.name: lookup.table for lookup in self.lookups}.values())

    @cached_property
    def width(self) -> int:
        """How many entries a row of the widest table has."""
        return max(len(table.rows[0]) for table in self.tables)

    @cached_property
    def multiplicities(self) -> tuple[str, ...]:
        """One column a table: how often each of its rows is looked up."""
        return tuple(f"{table.name}.multiplicity" for table in self.tables)

    @cached_property
    def groups(self) -> tuple[tuple[Lookup, ...], ...]:
        """The lookups by helper column."""
        starts = range(0, len(self.lookups), GROUP)
        return tuple(self.lookups[start : start + GROUP] for start in starts)

    @cached_property
    def helpers(self) -> tuple[str, ...]:
        """One column a group: Σ 1/(α - entry)."""
        return tuple(f"helper_{index}" for index in range(len(self.groups)))

    @cached_property
    def early(self) -> tuple[str, ...]:
        """Columns committed before the first challenges."""
        return (*self.witness, *self.multiplicities)

    @cached_property
    def after(self) -> tuple[str, ...]:
        """Columns committed after the first challenges."""
        return (*self.late, *self.helpers, SUM)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns that are opened, in the order of their evaluations in a proof."""
        return (*self.committed, *self.early, *self.after)

    @cached_property
    def description(self) -> str:
        """Canonical text of what makes the circuit, one item a line."""
        lists: list[tuple[str, Sequence[str]]] = [
            ("circuit", [self.name]),
            ("committed", self.committed),
            ("linear", self.linear),
            ("witness", self.witness),
            ("late", self.late),
            *(("table", [table.name, str(table.tag), table.digest]) for table in self.tables),
            ("gates", [gate.name for gate in self.gates]),
            ("lookups", [lookup.name for lookup in self.lookups]),
            ("sums", [item.name for item in self.sums]),
        ]
        return "\n".join(" ".join((word, *names)) for word, names in lists)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the description."""
        return hashlib.sha256(self.description.encode("ascii")).digest()

    def denominators(self, group: Sequence[Lookup], leaf: Leaf) -> list[Any]:
        """α less each compressed entry: Σ β^k·entry[k] + tag·β^width."""
        values = []
        for lookup in group:
            compressed: Expression = Constant(lookup.table.tag)
            for part in reversed((*lookup.entry, *(Constant(0),) * (self.width - len(lookup.entry)))):
                compressed = compressed * _BETA + part
            values.append((_ALPHA - compressed).evaluate(leaf))
        return values

    def data_gates(self, leaf: Leaf) -> Iterator[tuple[str, Any]]:
        """Name and value of everything that vanishes on the data rows, in the order of the powers of γ."""
        for gate in self.gates:
            yield gate.name, gate.expression.evaluate(leaf)
        for index, (group, helper) in enumerate(zip(self.groups, self.helpers, strict=True)):
            yield f"lookup_{index}", _log_derivative(leaf(Cell(helper)), self.denominators(group, leaf))
        yield "sum_step", leaf(Cell(SUM, 1)) - leaf(Cell(SUM)) - self.step(leaf)

    def step(self, leaf: Leaf) -> Any:
        """What a row adds to the running sum: helpers, less the tables' share, and the weighted sums."""
        terms: list[Expression] = [Cell(helper) for helper in self.helpers]
        for name, table in zip(self.multiplicities, self.tables, strict=True):
            terms.append(-1 * (Cell(name) * Cell(f"{table.name}.inverse")))
        return (total(terms) + self._weighted_sums()).evaluate(leaf)

    def boundary_gates(self) -> tuple[Gate, ...]:
        """What vanishes on all of H: the running sum starts and ends at 0."""
        return Gate("sum_first", Cell(FIRST) * Cell(SUM)), Gate("sum_end", Cell(END) * Cell(SUM))

    def linear_coefficients(self, leaf: Leaf, gamma: int) -> dict[str, int]:
        """By linear column: its factor in Σ γ^k·gate_k, mod r. leaf: values at a point, 0 for linear ones."""
        place = len(self.gates) + len(self.groups)
        weighted = [(k, gate.expression) for k, gate in enumerate(self.gates)]
        weighted.append((place, -1 * self._weighted_sums()))
        factors = dict.fromkeys(self.linear, 0)
        for power, expression in weighted:
            for name in {cell.column for cell in expression.cells()} & factors.keys():

                def one(node: Cell | Challenge, name: str = name) -> Any:
                    return 1 if node == Cell(name) else leaf(node)

                difference = expression.evaluate(one) - expression.evaluate(leaf)
                factors[name] += pow(gamma, power, field.MODULUS) * difference
        return {name: int(factor) % field.MODULUS for name, factor in factors.items()}

    def table_denominators(self, alpha: int, beta: int) -> dict[str, field.Elements]:
        """By public column NAME.inverse, which is zero below the table: α less each compressed row.

        ZeroDivisionError if the last of them is 0.
        """
        powers = field.array(field.powers(beta, self.width + 1))
        columns = {}
        for table in self.tables:
            ones, *entries = table.columns
            denominators = ones * (alpha - table.tag * powers[self.width])
            for power, column in zip(powers, entries, strict=False):
                denominators -= column * power
            if denominators.degree() + 1 < len(table.rows):
                raise ZeroDivisionError("a compressed row is equal to alpha")
            columns[f"{table.name}.inverse"] = np.array(denominators.coeffs(), dtype=object)
        return columns

    def count(self, entries: Mapping[str, Counter[tuple[int, ...]]]) -> dict[str, list[int]]:
        """The multiplicity columns for the entries looked up, by table; entries in no table count nowhere."""
        return {
            f"{table.name}.multiplicity": [
                entries[table.name][tuple(value % field.MODULUS for value in row)] for row in table.rows
            ]
            for table in self.tables
        }

    def check_shape(self) -> "Circuit":
        """Raise ValueError for too high a degree, a table too long, a name repeated, a bad linear column."""
        names = [*self.columns, *self.linear]
        if len(set(names)) != len(names):
            raise ValueError("a column's name occurs twice")
        if any(item.expression.degree() > MAX_DEGREE for item in (*self.gates, *self.sums)):
            raise ValueError("a gate's degree is too high")
        if any(part.degree() > 1 for lookup in self.lookups for part in lookup.entry):
            raise ValueError("an entry's degree is too high")
        looked_up = {cell.column for lookup in self.lookups for part in lookup.entry for cell in part.cells()}
        if looked_up & set(self.linear):
            raise ValueError("a linear column is looked up")
        if any(len(table.rows) > DATA_ROWS for table in self.tables):
            raise ValueError("a table is too long")
        return self

    def _weighted_sums(self) -> Expression:
        weighted: Expression = Constant(0)
        for item in reversed(self.sums):
            weighted = Challenge("kappa") * (weighted + item.expression)
        return weighted


def _log_derivative(helper: Any, denominators: Sequence[Any]) -> Any:
    """helper·Π d_i - Σ_i Π_{j≠i} d_j for one to three factors, which is 0 iff helper = Σ 1/d_i."""
    first, *others = denominators
    if not others:
        return helper * first - 1
    second, *last = others
    product = first * second
    pair = helper * product - (first + second)
    return pair * last[0] - product if last else pair
