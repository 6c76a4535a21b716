"""A statement's constraints, described once: columns, gates and lookups, shared by prover and verifier.

A gate says: on every row where its selector is 1, its expression is 0. A lookup says: on every row where its
selector is 1, each of its entries is a row of a public table. Lookups become gates by the logarithmic
derivative (Haböck, "Multivariate lookups based on logarithmic derivatives", 2022): for challenges α and β
drawn after all values and multiplicities are committed, Σ 1/(α - entry) = Σ multiplicity/(α - table row),
with a helper column per lookup for the left side and one running sum over both.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from intertwine.zk import field
from intertwine.zk.domain import ACTIVE_ROWS, CLOSING_ROW
from intertwine.zk.expression import Cell, Challenge, Constant, Expression, total

MAX_DEGREE = 4
"""Of selector times expression: the quotient then has three chunks of 4095 coefficients."""

CHUNKS = 3

ACTIVE, FIRST, AFTER = "rows_active", "row_first", "row_after_closing"
"""Public columns that every circuit has: 1 on rows 0..4088, on row 0, and on row 4089."""

SUM = "lookup_sum"

_ALPHA, _BETA = Challenge("alpha"), Challenge("beta")


@dataclass(frozen=True)
class Gate:
    """`selector` (a public column) times `expression` vanishes on every row."""

    name: str
    selector: str
    expression: Expression


@dataclass(frozen=True)
class Table:
    """A public table; `tag` keeps its rows apart from those of every other table of the circuit."""

    name: str
    tag: int
    rows: tuple[tuple[int, ...], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the rows in decimal: entries joined by commas, rows by newlines."""
        text = "\n".join(",".join(map(str, row)) for row in self.rows)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Lookup:
    """One entry of degree at most 2, or two of degree 1; an entry is as wide as the table."""

    name: str
    selector: str
    table: Table
    entries: tuple[tuple[Expression, ...], ...]

    @property
    def helper(self) -> str:
        """The column Σ 1/(α - entry)."""
        return f"{self.name}.helper"


@dataclass(frozen=True)
class Circuit:
    """A statement of one shape.

    name: with all parameters of the shape; public: columns that both sides compute themselves; committed:
    columns whose commitments belong to the statement; witness: columns committed in the proof. Names are
    unique.
    """

    name: str
    public: tuple[str, ...]
    committed: tuple[str, ...]
    witness: tuple[str, ...]
    own_gates: tuple[Gate, ...]
    lookups: tuple[Lookup, ...]

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
    def helpers(self) -> tuple[str, ...]:
        """Columns committed after α and β."""
        return (*(lookup.helper for lookup in self.lookups), SUM)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns that are opened, in the order of their evaluations in a proof."""
        return (*self.committed, *self.witness, *self.multiplicities, *self.helpers)

    @cached_property
    def rotated(self) -> tuple[str, ...]:
        """Columns that are opened at the next row too, in the order of `columns`."""
        used = {cell.column for gate in self.gates for cell in gate.expression.cells() if cell.rotation}
        return tuple(name for name in self.columns if name in used)

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """The statement's own gates and those that the lookups become; the order gives the powers of γ."""
        return (*self.own_gates, *map(self._lookup_gate, self.lookups), *self._sum_gates())

    @cached_property
    def lookup_step(self) -> Expression:
        """What a row adds to the running sum: its helpers less the tables' share."""
        looked_up = [Cell(lookup.selector) * Cell(lookup.helper) for lookup in self.lookups]
        offered = [
            Cell(multiplicity) * Cell(f"{table.name}.inverse")
            for multiplicity, table in zip(self.multiplicities, self.tables, strict=True)
        ]
        return total(looked_up) - total(offered)

    @cached_property
    def description(self) -> str:
        """Canonical text of everything that makes the circuit, one item a line."""
        lines = [f"circuit {self.name}"]
        for kind, names in (
            ("public", self.public),
            ("committed", self.committed),
            ("witness", self.witness),
        ):
            lines.append(" ".join((kind, *names)))
        lines += [f"table {table.name} {table.tag} {table.digest}" for table in self.tables]
        lines += [f"gate {gate.name} {gate.selector}: {gate.expression}" for gate in self.own_gates]
        for lookup in self.lookups:
            entries = " | ".join(", ".join(map(str, entry)) for entry in lookup.entries)
            lines.append(f"lookup {lookup.name} {lookup.selector} {lookup.table.name}: {entries}")
        return "\n".join(lines)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the description."""
        return hashlib.sha256(self.description.encode("ascii")).digest()

    def compress(self, entry: Sequence[Expression], table: Table) -> Expression:
        """Σ β^k·entry[k] + tag·β^width."""
        compressed: Expression = Constant(table.tag)
        for value in reversed((*entry, *(Constant(0),) * (self.width - len(entry)))):
            compressed = compressed * _BETA + value
        return compressed

    def inverse_tables(self, alpha: int, beta: int) -> dict[str, list[int]]:
        """A public column a table: 1/(α - compressed row), zero below the table."""
        powers = [pow(beta, index, field.MODULUS) for index in range(self.width + 1)]
        columns = {}
        for table in self.tables:
            offset = alpha - table.tag * powers[self.width]
            denominators = [(offset - field.inner_product(row, powers)) % field.MODULUS for row in table.rows]
            columns[f"{table.name}.inverse"] = field.batch_inverse(denominators)
        return columns

    def count(self, entries: Mapping[str, Counter[tuple[int, ...]]]) -> dict[str, list[int]]:
        """The multiplicity columns for the entries looked up, by table; entries in no table count nowhere."""
        return {
            f"{table.name}.multiplicity": [entries[table.name][row] for row in table.rows]
            for table in self.tables
        }

    def check_shape(self) -> "Circuit":
        """Raise ValueError for a gate of too high a degree, a table too long, a name unknown or repeated."""
        known = [
            *common_columns(),
            *self.public,
            *self.columns,
            *(f"{table.name}.inverse" for table in self.tables),
        ]
        used = {cell.column for gate in self.gates for cell in gate.expression.cells()}
        used |= {gate.selector for gate in self.gates}
        if len(set(known)) != len(known) or not used <= set(known):
            raise ValueError(f"unknown or repeated columns: {sorted(used - set(known))}")
        if any(gate.expression.degree() >= MAX_DEGREE for gate in self.gates):
            raise ValueError("a gate's degree is too high")
        if any(len(table.rows) > ACTIVE_ROWS for table in self.tables):
            raise ValueError("a table is too long")
        return self

    def _lookup_gate(self, lookup: Lookup) -> Gate:
        helper = Cell(lookup.helper)
        first, *others = (_ALPHA - self.compress(entry, lookup.table) for entry in lookup.entries)
        if not others:
            return Gate(lookup.name, lookup.selector, helper * first - 1)
        (second,) = others
        return Gate(lookup.name, lookup.selector, helper * first * second - first - second)

    def _sum_gates(self) -> Iterator[Gate]:
        """The running sum starts at 0, adds each row's step, and ends at 0."""
        yield Gate("lookup_sum_first", FIRST, Cell(SUM))
        yield Gate("lookup_sum_step", ACTIVE, Cell(SUM, 1) - Cell(SUM) - self.lookup_step)
        yield Gate("lookup_sum_last", AFTER, Cell(SUM))


def common_columns() -> dict[str, list[int]]:
    """The public columns that every circuit has."""
    return {ACTIVE: [1] * ACTIVE_ROWS, FIRST: [1], AFTER: [0] * (CLOSING_ROW + 1) + [1]}
