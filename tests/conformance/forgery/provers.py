"""Provers that depart from the protocol in one place."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from py_arkworks_bls12381 import G1Point

from intertwine.zk import domain, field, kzg, reference_string
from intertwine.zk.circuit import SUM
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.expression import Cell, Challenge
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Prover
from intertwine.zk.transcript import Transcript


class UnbalancedMultiplicity(Prover):
    """One table row is said to be used once more."""

    def multiplicities(self) -> dict[str, list[int]]:
        columns = super().multiplicities()
        columns["range.multiplicity"][7] += 1
        return columns


class LateMultiplicity(Prover):
    """Multiplicities are chosen when α is known, so that any lookups balance."""

    def witness_round(self) -> None:
        for name in self.circuit.witness:
            self.commit_column(name, self.witness[name])
        columns = self.multiplicities()
        self.draw("alpha", "beta", "theta", "kappa")
        self.rows |= columns
        balance = self.rehearsed_end() * pow(self.rows["range.inverse"][0], -1, MODULUS)
        columns["range.multiplicity"][0] += balance
        for name, rows in columns.items():
            self.commit_column(name, [value % MODULUS for value in rows])

    def rehearsed_end(self) -> int:
        """What the running sum ends with, from a rehearsal of the next round that leaves no trace."""
        transcript, proof = self.transcript, self._proof
        self.transcript, self._proof = Transcript(b"rehearsal"), bytearray()
        super().late_round()
        self.transcript, self._proof = transcript, proof
        del self.challenges["gamma"]
        return self.rows[SUM][DATA_ROWS]


class SumZeroAtEnd(Prover):
    """The running sum is set to zero where it has to end."""

    def running_sum(self) -> list[int]:
        return [*super().running_sum()[:-1], 0]


class SumShifted(Prover):
    """The running sum starts where it has to for its end to be zero."""

    def running_sum(self) -> list[int]:
        rows = super().running_sum()
        return [(value - rows[-1]) % MODULUS for value in rows]


class SumReset(Prover):
    """The running sum is corrected in the middle of the page."""

    def running_sum(self) -> list[int]:
        rows = super().running_sum()
        return [*rows[:30], *((value - rows[-1]) % MODULUS for value in rows[30:])]


class ForgedHelper(Prover):
    """One helper value is not the inverse, so that the sum ends at zero."""

    def commit_column(self, name: str, rows: Sequence[int]) -> None:
        if name == SUM and rows[-1]:
            helper = list(self.rows["helper_0"])
            helper[5] = (helper[5] - rows[-1]) % MODULUS
            self.rows["helper_0"] = helper
            rows = self.running_sum()
        super().commit_column(name, rows)


def omitting(column: str) -> type[Prover]:
    """A prover whose running sum takes a column for zero."""

    class Omitting(Prover):
        def running_sum(self) -> list[int]:
            kept = self.rows[column]
            self.rows[column] = []
            rows = super().running_sum()
            self.rows[column] = kept
            return rows

    return Omitting


def crediting(table: str, row: int) -> type[Prover]:
    """A prover that counts a false entry of one table as a row of another."""

    class Crediting(Prover):
        def multiplicities(self) -> dict[str, list[int]]:
            columns = super().multiplicities()
            columns[f"{table}.multiplicity"][row] += 1
            return columns

    return Crediting


class ChunksSwapped(Prover):
    """The quotient's first two chunks trade places."""

    def blind_chunks(self, quotient: Any) -> list[Any]:
        first, second, *rest = super().blind_chunks(quotient)
        return [second, first, *rest]


def bit_reversed_reference() -> Any:
    """Lagrange points in the order that a bit-reversing transform would leave them in."""
    reference = reference_string.load()
    order = [int(f"{index:012b}"[::-1], 2) for index in range(domain.SIZE)]
    return SimpleNamespace(lagrange=[reference.lagrange[index] for index in order], powers=reference.powers)


class LinearForger(Prover):
    """Claims as the linear value whatever satisfies the identity at ζ."""

    def _linear_polynomial(self, following_sum: int) -> Any:
        self.following_sum = following_sum
        self.honest = super()._linear_polynomial(following_sum)
        self.lie = (-self.constant({}) - int(self.honest(self.challenges["zeta"]))) % MODULUS
        return self.honest + field.element(self.lie)

    def constant(self, changes: dict[str, int]) -> int:
        """K of ARGUMENT.md section 4, some opened values changed."""
        values = self.values_at | changes

        def leaf(node: Cell | Challenge) -> int:
            if isinstance(node, Challenge):
                return self.challenges[node.name]
            return self.following_sum if node.rotation else values.get(node.column, 0)

        total, power, gamma = 0, 1, self.challenges["gamma"]
        for _, value in self.circuit.data_gates(leaf):
            total += power * value
            power = power * gamma % MODULUS
        total *= domain.blinding_vanishing_at(self.challenges["zeta"])
        for gate in self.circuit.boundary_gates():
            total += power * gate.expression.evaluate(leaf)
            power = power * gamma % MODULUS
        return total % MODULUS


class Forgetful(Transcript):
    """A weaker protocol: items of one label do not enter the challenges."""

    def __init__(self, source: Transcript, forgotten: str) -> None:
        self._stream = source._stream.copy()
        self._forgotten = forgotten

    def absorb(self, label: str, data: bytes) -> None:
        if label != self._forgotten:
            super().absorb(label, data)


def evaluation_forger(column: str) -> type[Prover]:
    """With v known beforehand, an error in a column's value cancels that of the linear value in the batch.

    The column must occur with degree 1 in the identity.
    """

    class EvaluationForger(LinearForger):
        def send_scalar(self, value: int) -> None:
            """Hold the values back until all are known."""
            self.held = [*getattr(self, "held", []), value]
            if len(self.held) == len(self.circuit.columns) + 2:
                for claimed in self.claimed():
                    super().send_scalar(claimed)

        def claimed(self) -> list[int]:
            v, names = Forgetful(self.transcript, "evaluation").challenge("v"), self.circuit.columns
            weight, last = pow(v, names.index(column), MODULUS), pow(v, len(names), MODULUS)
            true = self.values_at[column]
            slope = self.constant({column: true + 1}) - self.constant({})
            error = -last * self.lie * pow(weight - last * slope, -1, MODULUS) % MODULUS
            values = list(self.held)
            values[names.index(column)] = true + error
            values[-2] = -self.constant({column: true + error})
            return values

    return EvaluationForger


class OpeningForger(LinearForger):
    """With ρ known beforehand, errors in the two opening points cancel a false linear value."""

    def send_point(self, label: str, point: G1Point) -> None:
        if label != "opening":
            super().send_point(label, point)
            return
        self.openings = [*getattr(self, "openings", []), point]
        if len(self.openings) == 2:
            for forged in self.forged(*self.openings):
                super().send_point(label, forged)

    def forged(self, first: G1Point, second: G1Point) -> tuple[G1Point, G1Point]:
        rho = Forgetful(self.transcript, "opening").challenge("rho")
        zeta, v = self.challenges["zeta"], self.challenges["v"]
        lie = self.lie * pow(v, len(self.circuit.columns), MODULUS)
        shift = lie * pow(rho * zeta * (domain.OMEGA - 1), -1, MODULUS)
        return first + kzg.multiexp([G1Point()], [-rho * shift]), second + kzg.multiexp([G1Point()], [shift])
