"""The prover: PLONKish constraints, logarithmic-derivative lookups, one running sum, KZG openings.

The rounds are those of the transcript: witness and multiplicities; late columns, helpers and running sum;
quotient; evaluations; openings. Equations and byte format: ARGUMENT.md.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from intertwine.zk import domain, field, kzg
from intertwine.zk.circuit import CHUNKS, END, FIRST, SUM, Challenges, Circuit, Lookup
from intertwine.zk.domain import DATA_ROWS, SIZE
from intertwine.zk.expression import Cell, Challenge
from intertwine.zk.field import MODULUS
from intertwine.zk.form import Form
from intertwine.zk.randomness import Randomness
from intertwine.zk.reference_string import ReferenceString
from intertwine.zk.transcript import Transcript

Rows: TypeAlias = Sequence[int]
Columns: TypeAlias = Mapping[str, Rows]
Progress: TypeAlias = Callable[[float], None]

_LAST = [*[0] * DATA_ROWS, 1]


@dataclass(frozen=True, repr=False)
class Witness:
    """What only the prover knows.

    committed: columns whose commitments are part of the statement, 4096 rows each, blinding included; early:
    the circuit's witness columns, at most 4088 rows; late, linear: those columns, given the challenges, at
    most 4088 rows for late ones and 4096 for linear ones; secrets: key the prover's randomness.
    """

    committed: Columns
    early: Columns
    secrets: Sequence[bytes]
    late: Callable[[Challenges], Columns] = lambda challenges: {}
    linear: Callable[[Challenges], Columns] = lambda challenges: {}


class Prover:
    """One proof in the making: columns by name, challenges by name, and the proof's bytes so far.

    public: the circuit's public columns, given the challenges; transcript: has absorbed the statement.
    `satisfied` says after `prove` whether every constraint held.
    """

    def __init__(
        self,
        circuit: Circuit,
        reference_string: ReferenceString,
        public: Callable[[Challenges], Columns],
        witness: Witness,
        transcript: Transcript,
        progress: Progress | None = None,
    ) -> None:
        self.circuit = circuit
        self.reference_string = reference_string
        self.transcript = transcript
        self.witness = dict(witness.early)
        self.rows: dict[str, Rows] = {FIRST: [1], END: _LAST, **public({}), **witness.committed}
        self.challenges: dict[str, int] = {}
        self.satisfied = False
        self._statement = transcript.digest()
        self._public = public
        self._private = witness
        self._proof = bytearray()
        self._forms: dict[Cell, Form] = {}
        self._arrays: dict[str, tuple[Rows, NDArray[np.object_]]] = {}
        self._steps = _Steps(len(circuit.early) + 2 * len(circuit.after) + CHUNKS + 2, progress)

    def prove(self) -> bytes:
        """Run all rounds."""
        self.witness_round()
        self.late_round()
        self.quotient_round()
        self.opening_round()
        return bytes(self._proof)

    def witness_round(self) -> None:
        """Commit to the witness and to the multiplicities; then the first challenges."""
        for name in self.circuit.witness:
            self.commit_column(name, self.witness[name])
        for name, rows in self.multiplicities().items():
            self.commit_column(name, rows)
        self.draw("alpha", "beta", "theta", "kappa")

    def late_round(self) -> None:
        """Commit to late columns, to the lookups' helpers and to the running sum; then γ."""
        tables = self.circuit.table_denominators(self.challenges["alpha"], self.challenges["beta"])
        self.rows |= {name: list(map(int, field.batch_inverse(rows))) for name, rows in tables.items()}
        self.rows |= self._public(self.challenges)
        self.rows |= self._private.linear(self.challenges)
        for name, rows in self._private.late(self.challenges).items():
            self.commit_column(name, rows)
        for name, group in zip(self.circuit.helpers, self.circuit.groups, strict=True):
            self.commit_column(name, self.helper(group))
        self.commit_column(SUM, self.running_sum())
        self.draw("gamma")

    def quotient_round(self) -> None:
        """Commit to the blinded chunks of the quotient; then ζ."""
        self._chunks = self.blind_chunks(self._quotient())
        for chunk in self._chunks:
            self.send_point("commitment", self.commit(chunk))
        self.draw("zeta")

    def opening_round(self) -> None:
        """Send all evaluations, then v, then one opening at ζ and one at the next row."""
        zeta, circuit = self.challenges["zeta"], self.circuit
        following = zeta * domain.OMEGA % MODULUS
        here = domain.Evaluator(zeta)
        self.values_at = {name: here(self.rows[name]) for name in self._known_columns()}
        for name in circuit.columns:
            self.send_scalar(self.values_at[name])
        running_sum = self._form(Cell(SUM)).polynomial
        following_sum = int(running_sum(following))
        linear = self._linear_polynomial(following_sum)
        self.send_scalar(int(linear(zeta)))
        self.send_scalar(following_sum)
        self.draw("v")
        powers = field.powers(self.challenges["v"], len(circuit.columns) + 1)
        batch = self.combine(dict(zip(circuit.columns, powers, strict=False)))
        batch += linear * field.element(powers[-1])
        self.send_point("opening", self.open(batch, zeta))
        self.send_point("opening", self.open(running_sum, following))

    def multiplicities(self) -> dict[str, list[int]]:
        """How often each table row is looked up."""
        counts: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for lookup in self.circuit.lookups:
            cells = [self.data_values(part.evaluate(self.row_leaf)) for part in lookup.entry]
            counts[lookup.table.name].update(zip(*cells, strict=True))
        return self.circuit.count(counts)

    def blind_chunks(self, quotient: Any) -> list[Any]:
        """Cut into chunks of 4095 coefficients, each plus a random multiple of X^4095 that the next removes.

        Without that a chunk's commitment would be a deterministic function of the other columns. The last
        chunk is the rest; a false witness's may be too long and is then cut.
        """
        length = SIZE - 1
        blinders = [0, *self.randomness.scalars("quotient", CHUNKS - 1), 0]
        chunks = []
        for index in range(CHUNKS):
            part = quotient.right_shift(index * length).truncate(length)
            top = field.polynomial([blinders[index + 1]]).left_shift(length)
            chunks.append(part + top - field.element(blinders[index]))
        return chunks

    def commit_column(self, name: str, rows: Rows) -> None:
        """Fill a column with zeros and, from row 4088 on, randomly; commit to it, send the commitment.

        The running sum's end in row 4088 is part of its constrained rows.
        """
        column = [*rows, *[0] * (DATA_ROWS - len(rows))]
        column += self.randomness.scalars(name, SIZE - len(column))
        self.rows[name] = column
        self.send_point("commitment", kzg.commit_column(self.reference_string.lagrange, column))

    @cached_property
    def randomness(self) -> Randomness:
        """Keyed by secrets, statement and witness, so that a retry repeats itself and nothing else does."""
        witness = hashlib.sha256()
        for name in self.circuit.witness:
            witness.update(field.encode_all(self.witness[name]))
        return Randomness(b"prover", self._statement, witness.digest(), *self._private.secrets)

    def draw(self, *names: str) -> None:
        """Draw the next challenges."""
        for name in names:
            self.challenges[name] = self.transcript.challenge(name)

    def helper(self, group: Sequence[Lookup]) -> list[int]:
        """Σ 1/(α - entry) on the data rows."""
        numerator, denominator = 0, 1
        for value in self.circuit.denominators(group, self.row_leaf):
            numerator = (numerator * value + denominator) % MODULUS
            denominator = denominator * value % MODULUS
        inverses = field.batch_inverse(field.array(self.data_values(denominator)))
        return [int(a * b) for a, b in zip(self.data_values(numerator), inverses, strict=True)]

    def running_sum(self) -> list[int]:
        """Row i is the sum of the steps before it; on row 4088 it is 0 if all lookups and sums hold."""
        steps = self.data_values(self.circuit.step(self.row_leaf))
        return list(accumulate(steps, lambda left, right: (left + right) % MODULUS, initial=0))

    def open(self, polynomial: Any, point: int) -> G1Point:
        """The commitment to (f - f(point))/(X - point)."""
        return self.commit(polynomial // field.polynomial([-point, 1]))

    def commit(self, polynomial: Any) -> G1Point:
        """The commitment to a polynomial given by its coefficients."""
        coefficients = [int(value) for value in polynomial.coeffs()]
        return kzg.multiexp(self.reference_string.powers[: len(coefficients)], coefficients)

    def combine(self, weights: Mapping[str, int]) -> Any:
        """Σ weight·column as a polynomial."""
        if not weights:
            return field.polynomial([])
        combined = np.zeros(SIZE, dtype=object)
        for name, weight in weights.items():
            combined = (combined + self._padded(name) * weight) % MODULUS
        return domain.interpolate(combined)

    def send_point(self, label: str, point: G1Point) -> None:
        """Append a point to transcript and proof."""
        data = kzg.encode_point(point)
        self.transcript.absorb(label, data)
        self._proof += data
        self._steps.advance()

    def send_scalar(self, value: int) -> None:
        """Append an evaluation to transcript and proof."""
        data = field.encode(value)
        self.transcript.absorb("evaluation", data)
        self._proof += data

    def broken_gates(self) -> set[str]:
        """Names of the gates that a data row violates, and of the ends of the sum that are not 0."""
        broken = {
            name for name, values in self.circuit.data_gates(self.row_leaf) if any(self.data_values(values))
        }
        ends = {"sum_first": self.rows[SUM][0], "sum_end": self.rows[SUM][DATA_ROWS]}
        return broken | {name for name, value in ends.items() if value}

    def data_values(self, values: Any) -> list[int]:
        """An expression's values on the data rows, reduced."""
        reduced = np.asarray(values, dtype=object) % MODULUS
        return list(np.broadcast_to(reduced, (SIZE,))[:DATA_ROWS])

    def row_leaf(self, leaf: Cell | Challenge) -> Any:
        """Challenges, and columns as arrays of all their rows."""
        if isinstance(leaf, Challenge):
            return self.challenges[leaf.name]
        column = self._padded(leaf.column)
        return np.roll(column, -leaf.rotation) if leaf.rotation else column

    def _quotient(self) -> Any:
        """(Z_B·Σ γ^k·gate_k + the boundary's share)/(X^4096 - 1); `satisfied` if the division is exact."""
        gamma = self.challenges["gamma"]
        share = Fraction(len(self.circuit.after), len(self.circuit.gates) + len(self.circuit.groups) + 1)
        combined, power = Form(), 1
        for _, value in self.circuit.data_gates(self._form_leaf):
            combined += value * power
            power = power * gamma % MODULUS
            self._steps.advance(share)
        numerator = combined.polynomial * domain.blinding_vanishing()
        quotient, remainder = domain.divide_by_vanishing(numerator)
        self.satisfied = remainder.degree() < 0
        for row in (0, DATA_ROWS):  # the sum's first and last row, by the Lagrange polynomials of both
            part, rest = divmod(self._form(Cell(SUM)).polynomial, field.polynomial([-domain.ROOTS[row], 1]))
            self.satisfied &= rest.degree() < 0
            quotient += part * field.element(domain.ROOTS[row] * domain.SCALE * power)
            power = power * gamma % MODULUS
        return quotient

    def _linear_polynomial(self, following_sum: int) -> Any:
        """L = Σ k_c·c - (ζ^4096 - 1)·Σ ζ^(4095j)·chunk_j over the linear columns c."""
        zeta = self.challenges["zeta"]

        def leaf(node: Cell | Challenge) -> int:
            if isinstance(node, Challenge):
                return self.challenges[node.name]
            return following_sum if node.rotation else self.values_at.get(node.column, 0)

        factors = self.circuit.linear_coefficients(leaf, self.challenges["gamma"])
        blinding = domain.blinding_vanishing_at(zeta)
        linear = self.combine({name: blinding * factor for name, factor in factors.items()})
        scale = -domain.vanishing_at(zeta)
        for chunk in self._chunks:
            linear += chunk * field.element(scale)
            scale = scale * pow(zeta, SIZE - 1, MODULUS) % MODULUS
        return linear

    def _known_columns(self) -> Iterator[str]:
        """Every column that has a value at ζ: public and opened ones."""
        linear = set(self.circuit.linear)
        return (name for name in self.rows if name not in linear)

    def _form_leaf(self, leaf: Cell | Challenge) -> Any:
        return self.challenges[leaf.name] if isinstance(leaf, Challenge) else self._form(leaf)

    def _form(self, cell: Cell) -> Form:
        if cell not in self._forms:
            self._forms[cell] = Form(self.row_leaf(cell))
        return self._forms[cell]

    def _padded(self, name: str) -> NDArray[np.object_]:
        rows = self.rows[name]
        known = self._arrays.get(name)
        if known is None or known[0] is not rows:
            known = rows, np.zeros(SIZE, dtype=object)
            known[1][: len(rows)] = rows
            self._arrays[name] = known
        return known[1]


class _Steps:
    """Progress as a fraction of the commitments to make."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self._total, self._done, self._report = total, Fraction(0), report

    def advance(self, steps: Fraction | int = 1) -> None:
        self._done += steps
        if self._report is not None:
            self._report(float(self._done / self._total))
