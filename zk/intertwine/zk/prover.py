"""The prover: PLONKish constraints, logarithmic-derivative lookups, KZG openings.

The rounds are those of the transcript: witness and multiplicities; lookup helpers and running sum; quotient;
evaluations; openings. The verifier's equations are in `verifier`, the byte format in RELEASE.md.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from intertwine.zk import domain, field, kzg
from intertwine.zk.circuit import CHUNKS, SUM, Circuit, Lookup, common_columns
from intertwine.zk.domain import ACTIVE_ROWS, SIZE
from intertwine.zk.expression import Cell, Challenge, Expression
from intertwine.zk.field import MODULUS
from intertwine.zk.randomness import Randomness
from intertwine.zk.reference_string import ReferenceString
from intertwine.zk.transcript import Transcript

Rows = Sequence[int]


class Prover:
    """One proof in the making: columns by name, challenges by name, and the proof's bytes so far.

    circuit: the statement's shape; public: its public columns; committed: columns whose commitments are part
    of the statement, blinding rows included; witness: the other columns, at most 4089 rows; transcript: has
    absorbed the statement; secrets: key the randomness.
    """

    def __init__(
        self,
        circuit: Circuit,
        reference_string: ReferenceString,
        public: Mapping[str, Rows],
        committed: Mapping[str, Rows],
        witness: Mapping[str, Rows],
        transcript: Transcript,
        secrets: Sequence[bytes],
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.circuit = circuit
        self.reference_string = reference_string
        self.transcript = transcript
        self._statement = transcript.digest()
        self.witness = dict(witness)
        self.rows: dict[str, Rows] = {**common_columns(), **public, **committed}
        self.challenges: dict[str, int] = {}
        self.satisfied = False
        self._secrets = secrets
        self._polynomials: dict[str, Any] = {}
        self._proof = bytearray()
        self._report = progress or (lambda fraction: None)

    def prove(self) -> bytes:
        """Run all rounds; `satisfied` says afterwards whether every constraint held."""
        rounds = (self.witness_round, self.lookup_round, self.quotient_round, self.opening_round)
        for index, step in enumerate(rounds, start=1):
            step()
            self._report(index / len(rounds))
        return bytes(self._proof)

    def witness_round(self) -> None:
        """Commit to the witness and to the multiplicities; then α and β."""
        for name in self.circuit.witness:
            self.commit_column(name, self.witness[name])
        for name, rows in self.multiplicities().items():
            self.commit_column(name, rows)
        self.draw("alpha", "beta")

    def lookup_round(self) -> None:
        """Commit to the lookups' helpers and their running sum; then γ."""
        self.rows |= self.circuit.inverse_tables(self.challenges["alpha"], self.challenges["beta"])
        for lookup in self.circuit.lookups:
            self.commit_column(lookup.helper, self.helper(lookup))
        self.commit_column(SUM, self.running_sum())
        self.draw("gamma")

    def quotient_round(self) -> None:
        """Commit to the blinded chunks of the quotient; then ζ."""
        quotient, remainder = domain.divide_by_vanishing(self._combined_gates())
        self.satisfied = remainder.degree() < 0
        self._chunks = self.blind_chunks(quotient)
        for chunk in self._chunks:
            self.send_point("commitment", self.commit(chunk))
        self.draw("zeta")

    def opening_round(self) -> None:
        """Send all evaluations, then v, then one opening at ζ and one at the next row."""
        zeta = self.challenges["zeta"]
        quotient = field.polynomial([])
        for chunk in reversed(self._chunks):
            quotient = quotient * field.element(pow(zeta, SIZE - 1, MODULUS)) + chunk
        here = [*map(self._polynomial, self.circuit.columns), quotient]
        following = [self._polynomial(name) for name in self.circuit.rotated]
        groups = ((here, zeta), (following, zeta * domain.OMEGA % MODULUS))
        for group, point in groups:
            for polynomial in group:
                self.send_scalar(int(polynomial(point)))
        self.draw("v")
        for group, point in groups:
            self.send_point("opening", self.open(group, point))

    def multiplicities(self) -> dict[str, list[int]]:
        """How often each table row is looked up."""
        counts: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for lookup in self.circuit.lookups:
            selected = np.flatnonzero(self.values(Cell(lookup.selector)))
            for entry in lookup.entries:
                cells = [(self.values(value)[selected] % MODULUS).tolist() for value in entry]
                counts[lookup.table.name].update(zip(*cells, strict=True))
        return self.circuit.count(counts)

    def blind_chunks(self, quotient: Any) -> list[Any]:
        """Cut into chunks of 4095 coefficients, each plus a random multiple of X^4095 that the next removes.

        Without that a chunk's commitment would be a deterministic function of the other columns.
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
        """Fill a column with zeros up to row 4088 and randomly below, commit to it, send the commitment."""
        column = [*rows, *[0] * (ACTIVE_ROWS - len(rows))]
        column += self.randomness.scalars(name, SIZE - len(column))
        self.rows[name] = column
        self.send_point("commitment", kzg.commit_column(self.reference_string.lagrange, column))

    @cached_property
    def randomness(self) -> Randomness:
        """Keyed by secrets, statement and witness, so that a retry repeats itself and nothing else does."""
        witness = hashlib.sha256()
        for name in self.circuit.witness:
            witness.update(b"".join(map(field.encode, self.witness[name])))
        return Randomness(b"prover", self._statement, witness.digest(), *self._secrets)

    def draw(self, *names: str) -> None:
        """Draw the next challenges."""
        for name in names:
            self.challenges[name] = self.transcript.challenge(name)

    def helper(self, lookup: Lookup) -> list[int]:
        """Σ 1/(α - entry) on the selected rows."""
        challenge = Challenge("alpha")
        denominators = [
            self.values(challenge - self.circuit.compress(entry, lookup.table)) for entry in lookup.entries
        ]
        numerator, denominator = 1, denominators[0] % MODULUS
        if len(denominators) == 2:
            numerator, denominator = denominators[0] + denominators[1], denominator * denominators[1]
        selected = self.values(Cell(lookup.selector))
        active = np.where(selected, denominator, 1)[:ACTIVE_ROWS] % MODULUS
        inverses = field.batch_inverse(active.tolist())
        return list((numerator * selected)[:ACTIVE_ROWS] * np.array(inverses, dtype=object) % MODULUS)

    def running_sum(self) -> list[int]:
        """Row i is the sum of the steps before it; after the closing row it is 0 if all lookups hold."""
        steps = self.values(self.circuit.lookup_step)[:ACTIVE_ROWS]
        return list(accumulate(steps, lambda left, right: (left + right) % MODULUS, initial=0))

    def _combined_gates(self) -> Any:
        """Σ γ^k · selector · gate; gates of one selector are added before they are multiplied by it."""
        by_selector: dict[str, Any] = {}
        for index, gate in enumerate(self.circuit.gates):
            power = field.element(pow(self.challenges["gamma"], index, MODULUS))
            part = gate.expression.evaluate(self._polynomial_leaf) * power
            by_selector[gate.selector] = by_selector.get(gate.selector, 0) + part
        combined = field.polynomial([])
        for selector, part in by_selector.items():
            combined += self._polynomial(selector) * part
        return combined

    def open(self, polynomials: Iterable[Any], point: int) -> G1Point:
        """The commitment to (Σ v^i f_i - value)/(X - point)."""
        combined = field.polynomial([])
        for index, polynomial in enumerate(polynomials):
            combined += polynomial * field.element(pow(self.challenges["v"], index, MODULUS))
        return self.commit(combined // field.polynomial([-point, 1]))

    def commit(self, polynomial: Any) -> G1Point:
        """The commitment to a polynomial given by its coefficients."""
        coefficients = _padded([int(value) for value in polynomial.coeffs()])
        return kzg.multiexp(self.reference_string.powers, coefficients)

    def send_point(self, label: str, point: G1Point) -> None:
        """Append a point to transcript and proof."""
        data = kzg.encode_point(point)
        self.transcript.absorb(label, data)
        self._proof += data

    def send_scalar(self, value: int) -> None:
        """Append an evaluation to transcript and proof."""
        data = field.encode(value)
        self.transcript.absorb("evaluation", data)
        self._proof += data

    def values(self, expression: Expression) -> NDArray[np.object_]:
        """An expression's values on all 4096 rows, not reduced."""
        value = expression.evaluate(self._row_leaf)
        return np.broadcast_to(np.asarray(value, dtype=object), (SIZE,))

    def _row_leaf(self, leaf: Cell | Challenge) -> Any:
        if isinstance(leaf, Challenge):
            return self.challenges[leaf.name]
        column = np.array(_padded(self.rows[leaf.column]), dtype=object)
        return np.roll(column, -leaf.rotation)

    def _polynomial_leaf(self, leaf: Cell | Challenge) -> Any:
        if isinstance(leaf, Challenge):
            return field.element(self.challenges[leaf.name])
        polynomial = self._polynomial(leaf.column)
        return domain.rotate(polynomial) if leaf.rotation else polynomial

    def _polynomial(self, name: str) -> Any:
        if name not in self._polynomials:
            self._polynomials[name] = domain.interpolate(self.rows[name])
        return self._polynomials[name]


def _padded(rows: Rows) -> list[int]:
    return [*rows, *[0] * (SIZE - len(rows))]
