"""The constraints at ζ: N(ζ) = K + Σ k_c·c(ζ) (`ARGUMENT.md` sections 2 and 4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent import domain
from intertwine.zk.independent.circuit import Cells, Circuit, Constraints, Entry, Linear, Table, Value
from intertwine.zk.independent.domain import MODULUS
from intertwine.zk.independent.messages import Proof

GROUP = 3


@dataclass(frozen=True)
class Challenges:
    """The transcript's answers, in its order."""

    alpha: int
    beta: int
    theta: int
    kappa: int
    gamma: int
    zeta: int
    v: int
    rho: int


def numerator(circuit: Circuit, proof: Proof, challenges: Challenges) -> Linear:
    """N(ζ), the values of linear columns left open.

    VerificationError `constraint_identity` if a challenge is in H or a table, which chance never does.
    """
    try:
        basis = domain.lagrange(challenges.zeta)
        lookups = _Lookups(circuit, proof, challenges, basis)
        table_sum = lookups.table_sum()
    except ZeroDivisionError as error:
        raise VerificationError("constraint_identity", "a challenge hit the domain or a table.") from error
    public = circuit.statement.public(challenges.theta)
    values = {name: domain.evaluate(rows, basis) for name, rows in public.items()} | proof.values
    values |= {"row_first": basis[0], "row_end": basis[domain.DATA_ROWS]}
    constraints = circuit.statement.constraints(Cells(values.__getitem__, challenges.theta))
    groups = list(lookups.groups(constraints.entries))
    step = sum(helper for helper, _ in groups) - table_sum + _batched_sums(constraints, challenges)
    last = values["sum"]
    return _batched_gates(
        on_data=[
            *constraints.gates.values(),
            *(_lookup_gate(helper, distances) for helper, distances in groups),
            proof.next_sum - last - step,
        ],
        everywhere=[values["row_first"] * last, values["row_end"] * last],
        challenges=challenges,
    )


class _Lookups:
    """The logarithmic derivatives of entries and tables."""

    def __init__(self, circuit: Circuit, proof: Proof, challenges: Challenges, basis: Sequence[int]) -> None:
        self._tables = circuit.constraints.tables
        self._values = proof.values
        self._alpha = challenges.alpha
        self._basis = basis
        width = max(len(table.rows[0]) for table in self._tables)
        self._powers = [pow(challenges.beta, k, MODULUS) for k in range(width + 1)]

    def table_sum(self) -> int:
        """Σ multiplicity·inverse over the tables; ZeroDivisionError if α is a row."""
        total = 0
        for table in self._tables:
            inverses = domain.inverses([self._distance(table, row) for row in table.rows])
            total += self._values[f"{table.name}.multiplicity"] * domain.evaluate(inverses, self._basis)
        return total

    def groups(self, entries: Sequence[Entry]) -> Iterator[tuple[int, list[int]]]:
        """helper_k and the distances α − e of its one to three entries, for every group."""
        for k, start in enumerate(range(0, len(entries), GROUP)):
            group = entries[start : start + GROUP]
            yield self._values[f"helper_{k}"], [self._distance(entry.table, entry.values) for entry in group]

    def _distance(self, table: Table, values: Sequence[int]) -> int:
        """α − (Σ v_k·β^k + tag·β^W)."""
        compressed = sum(value * power for value, power in zip(values, self._powers, strict=False))
        return (self._alpha - compressed - table.tag * self._powers[-1]) % MODULUS


def _lookup_gate(helper: int, distances: Sequence[int]) -> int:
    """helper·Π d − Σ_i Π_{j≠i} d_j, which says that helper is the sum of all 1/d."""
    others = (prod(distances[:i]) * prod(distances[i + 1 :]) for i in range(len(distances)))
    return helper * prod(distances) - sum(others)


def _batched_sums(constraints: Constraints, challenges: Challenges) -> Value:
    """Σ κ^(m+1)·F_m."""
    total: Value = 0
    for power, value in enumerate(constraints.sums.values(), start=1):
        total = total + pow(challenges.kappa, power, MODULUS) * value
    return total


def _batched_gates(on_data: Sequence[Value], everywhere: Sequence[Value], challenges: Challenges) -> Linear:
    """Z_B·Σ γ^k·gate_k over the gates on data rows, plus Σ γ^k·gate_k over those on all of H."""
    weight = domain.blind_vanishing(challenges.zeta)
    total = Linear(0, {})
    for gate in on_data:
        total = total + gate * weight
        weight = weight * challenges.gamma % MODULUS
    weight = pow(challenges.gamma, len(on_data), MODULUS)
    for gate in everywhere:
        total = total + gate * weight
        weight = weight * challenges.gamma % MODULUS
    return total
