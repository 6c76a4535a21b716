"""Forgeries by a prover that departs from the protocol, named by their defect, each refused by its own check.

Where a forgery needs a weaker protocol to succeed (a challenge that forgets something, tables without tags),
the test shows that too: it passes under the weaker protocol, so the check is what stops it.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import commitment, domain, field, kzg, reference_string, release, verifier
from intertwine.zk.circuit import Circuit, Lookup, Table, common_columns
from intertwine.zk.commitment import Opening
from intertwine.zk.expression import Cell
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Prover
from intertwine.zk.release import ReleaseStatement
from intertwine.zk.release_circuit import add_bits, page_columns, release_witness
from intertwine.zk.sampler import sampler
from intertwine.zk.transcript import Transcript

SIGMA, DIMENSION = 100, 57
BEACON, SLOT = b"beacon".ljust(32), b"slot".ljust(32)
SEED = b"seed".ljust(32)


def make_statement(opening: Opening, beacon: bytes = BEACON) -> ReleaseStatement:
    update = opening.gradient + release.noise(opening, beacon, SLOT)
    return ReleaseStatement(b"context", beacon, SLOT, SIGMA, 400, opening.commitments, update)


def make_opening(dimension: int = DIMENSION, seed: bytes = SEED) -> Opening:
    gradient = np.zeros(dimension, dtype=np.int64)
    gradient[:DIMENSION] = np.arange(DIMENSION) % 40
    return release.commit(gradient, SIGMA, seed)


@pytest.fixture(scope="module")
def statement() -> ReleaseStatement:
    return make_statement(make_opening())


def refusal(statement: ReleaseStatement, proof: bytes) -> str:
    """The name of the check that refuses the proof."""
    with pytest.raises(VerificationError) as refused:
        release.verify(statement, proof)
    return refused.value.check


@pytest.mark.parametrize("defect", ["late_g", "r_swapped"])
def test_late_g_and_r_swapped(statement: ReleaseStatement, defect: str) -> None:
    """Vector or random bits chosen after the commitment: all holds but the opening of what was committed."""
    late = make_opening(seed=b"late".ljust(32))
    early, later = statement.commitments, late.commitments
    commitments = replace(later, gradient=early.gradient)
    if defect == "r_swapped":
        commitments = replace(later, randomness=early.randomness)
    claimed = replace(make_statement(late), commitments=commitments)
    prover = release._prover(claimed, late)
    proof = prover.prove()
    assert prover.satisfied
    assert refusal(claimed, proof) == "opening_pairing"


def test_same_r_two_beacons() -> None:
    """A proof for the first beacon is none for the second; to prove both, the log allows no commit."""
    opening = make_opening()
    first = make_statement(opening)
    proof = release.prove(first, opening)
    assert refusal(make_statement(opening, b"second beacon".ljust(32)), proof) == "constraint_identity"


def prove_with_bits(opening: Opening, wished: NDArray[np.uint64]) -> tuple[ReleaseStatement, Prover]:
    """A prover that puts public bits of its own choice in the place of the beacon's."""
    table = sampler(SIGMA)
    noise = table.sample(add_bits(opening.random_bits, wished, table.bits))
    claimed = replace(make_statement(opening), update=opening.gradient + noise)
    prover = release._prover(claimed, opening)
    prover.witness = release_witness(table, claimed.norm_bound, opening.random_bits, wished, opening.gradient)
    prover.rows |= page_columns("b", wished.tolist())
    return claimed, prover


def test_public_column_from_prover() -> None:
    """Its constraints hold, but the verifier computes the true bits."""
    opening = make_opening()
    wished = release.public_randomness(b"a better beacon".ljust(32), SLOT, DIMENSION, SIGMA)
    claimed, prover = prove_with_bits(opening, wished)
    proof = prover.prove()
    assert prover.satisfied
    assert refusal(claimed, proof) == "constraint_identity"


@pytest.mark.parametrize("defect", ["page", "level"])
def test_b_page_or_level_swapped(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages that trade their public bits, or take those of another sampler level."""
    opening = make_opening(2 * domain.DATA_ROWS)
    shared = release.public_randomness(BEACON, SLOT, 2 * domain.DATA_ROWS, SIGMA)
    with monkeypatch.context() as patched:
        patched.setattr(commitment, "_LEVEL", 1)
        second_level = release.public_randomness(BEACON, SLOT, 2 * domain.DATA_ROWS, SIGMA)
    wished = np.roll(shared, domain.DATA_ROWS) if defect == "page" else second_level
    assert not np.any(shared == wished)
    claimed, prover = prove_with_bits(opening, wished)
    proof = prover.prove()
    assert prover.satisfied
    assert refusal(claimed, proof) == "constraint_identity"


def test_chunk_swapped(statement: ReleaseStatement) -> None:
    class Swapped(Prover):
        def blind_chunks(self, quotient: Any) -> list[Any]:
            return super().blind_chunks(quotient)[::-1]

    prover = release._prover(statement, make_opening(), make=Swapped)
    assert refusal(statement, prover.prove()) == "constraint_identity"
    assert prover.satisfied


def test_multiplicity_after_alpha(statement: ReleaseStatement) -> None:
    """With α known, multiplicities balance any false lookup; but the verifier's α depends on them."""

    class Late(Prover):
        def witness_round(self) -> None:
            for name in self.circuit.witness:
                self.commit_column(name, self.witness[name])
            columns = self.multiplicities()
            self.draw("alpha", "beta")
            self.rows |= columns | self.circuit.inverse_tables(*self.challenges.values())
            for lookup in self.circuit.lookups:
                self.rows[lookup.helper] = self.helper(lookup)
            missing = self.running_sum()[-1]
            inverse = pow(self.rows["range.inverse"][0], -1, MODULUS)
            columns["range.multiplicity"][0] += missing * inverse
            for name, rows in columns.items():
                self.commit_column(name, [value % MODULUS for value in rows])

    update = statement.update.copy()
    update[9] += 1
    false = replace(statement, update=update)
    prover = release._prover(false, make_opening(), make=Late)
    proof = prover.prove()
    assert prover.satisfied
    assert refusal(false, proof) == "constraint_identity"


class Forgetful(Transcript):
    """A weaker protocol: items of one kind do not enter the challenges."""

    def __init__(self, source: Transcript, forgotten: str) -> None:
        self._stream = source._stream.copy()
        self._forgotten = forgotten

    def absorb(self, label: str, data: bytes) -> None:
        if label != self._forgotten:
            super().absorb(label, data)


def verify_with(statement: ReleaseStatement, proof: bytes, transcript: Transcript) -> None:
    """`release.verify` under another transcript."""
    points = statement.commitments
    committed = {"r[0]": kzg.decode_point(points.randomness[0]), "g[0]": kzg.decode_point(points.gradient[0])}
    verifier.verify(
        release._circuit(statement),
        reference_string.load(),
        release._public_columns(statement),
        committed,
        transcript,
        proof,
    )


def false_statement() -> tuple[ReleaseStatement, Opening]:
    opening = make_opening()
    statement = make_statement(opening)
    return replace(statement, update=statement.update + 1), opening


class QuotientForger(Prover):
    """Claims as the quotient's value whatever satisfies the identity at ζ."""

    def quotient_value(self, evaluations: dict[Cell, int]) -> int:
        zeta = self.challenges["zeta"]
        lagrange = domain.lagrange_at(zeta)
        known = {name: field.inner_product(rows, lagrange) for name, rows in self.rows.items()}

        def leaf(node: Any) -> Any:
            if node in evaluations:
                return field.element(evaluations[node])
            if isinstance(node, Cell):
                if node.rotation:
                    return self._polynomial(node.column)(zeta * domain.OMEGA % MODULUS)
                return field.element(known[node.column])
            return field.element(self.challenges[node.name])

        total = sum(
            pow(self.challenges["gamma"], index, MODULUS)
            * leaf(Cell(gate.selector))
            * gate.expression.evaluate(leaf)
            for index, gate in enumerate(self.circuit.gates)
        )
        return int(total * pow(domain.vanishing_at(zeta), -1, MODULUS))

    def forged_evaluations(self, here: list[int]) -> list[int]:
        """The evaluations at ζ to claim, given the true ones; the quotient's is last."""
        return [*here[:-1], self.quotient_value({})]

    def opening_round(self) -> None:
        self._sent: list[int] = []
        super().opening_round()

    def send_scalar(self, value: int) -> None:
        """Hold the evaluations at ζ back until all are known."""
        self._sent.append(value)
        count = len(self.circuit.columns) + 1
        if len(self._sent) == count:
            self.claimed = self.forged_evaluations(self._sent)
            for claimed in self.claimed:
                super().send_scalar(claimed)
        elif len(self._sent) > count:
            super().send_scalar(value)


def test_quotient_value_forged() -> None:
    """The identity holds for the claimed values, which are not those of the commitments."""
    statement, opening = false_statement()
    assert (
        refusal(statement, release._prover(statement, opening, make=QuotientForger).prove())
        == "opening_pairing"
    )


def test_evaluation_not_absorbed() -> None:
    """With v known beforehand, an error in r(ζ) cancels the error of the quotient's value in the batch."""

    class Forger(QuotientForger):
        def forged_evaluations(self, here: list[int]) -> list[int]:
            probe = Forgetful(self.transcript, "evaluation")
            v = probe.challenge("v")
            index, last = self.circuit.columns.index("r[0]"), len(here) - 1
            base = self.quotient_value({})
            slope = self.quotient_value({Cell("r[0]"): here[index] + 1}) - base
            weight, quotient_weight = pow(v, index, MODULUS), pow(v, last, MODULUS)
            error = (
                -quotient_weight
                * (base - here[-1])
                * pow(weight + quotient_weight * slope, -1, MODULUS)
                % MODULUS
            )
            forged = list(here)
            forged[index] = (here[index] + error) % MODULUS
            forged[-1] = (base + slope * error) % MODULUS
            return forged

    statement, opening = false_statement()
    prover = release._prover(statement, opening, make=Forger)
    prover.transcript = Forgetful(prover.transcript, "evaluation")
    proof = prover.prove()
    verify_with(statement, proof, Forgetful(release._transcript(statement), "evaluation"))
    assert refusal(statement, proof) == "opening_pairing"


def test_opening_not_absorbed() -> None:
    """With ρ known beforehand, errors in the two opening proofs cancel a false value."""

    class Forger(QuotientForger):
        def opening_round(self) -> None:
            self._held: list[G1Point] = []
            super().opening_round()

        def send_point(self, label: str, point: G1Point) -> None:
            if label != "opening":
                super().send_point(label, point)
                return
            self._held.append(point)
            if len(self._held) == 2:
                for forged in self.forged_openings(*self._held):
                    super().send_point(label, forged)

        def forged_openings(self, first: G1Point, second: G1Point) -> tuple[G1Point, G1Point]:
            rho = Forgetful(self.transcript, "opening").challenge("rho")
            zeta, v = self.challenges["zeta"], self.challenges["v"]
            lie = (self.claimed[-1] - self._sent[len(self.claimed) - 1]) * pow(
                v, len(self.claimed) - 1, MODULUS
            )
            shift = lie * pow(rho * zeta * (domain.OMEGA - 1), -1, MODULUS)
            return first + G1Point() * kzg.scalar(-rho * shift), second + G1Point() * kzg.scalar(shift)

    statement, opening = false_statement()
    prover = release._prover(statement, opening, make=Forger)
    prover.transcript = Forgetful(prover.transcript, "opening")
    proof = prover.prove()
    verify_with(statement, proof, Forgetful(release._transcript(statement), "opening"))
    assert refusal(statement, proof) == "opening_pairing"


@pytest.mark.parametrize("tag", [0, 1])
def test_tuple_from_range_table(tag: int) -> None:
    """A pair (5, 0) that only the other table offers, as 5: tags tell them apart, equal tags would not."""
    numbers = Table("numbers", 0, tuple((value,) for value in range(8)))
    pairs = Table("pairs", tag, ((1, 2), (3, 4)))
    circuit = Circuit(
        name="toy",
        public=(),
        committed=(),
        witness=("x", "y", "n"),
        own_gates=(),
        lookups=(
            Lookup("pair", "row_first", pairs, ((Cell("x"), Cell("y")),)),
            Lookup("number", "row_first", numbers, ((Cell("n"),),)),
        ),
    ).check_shape()

    class Forger(Prover):
        def multiplicities(self) -> dict[str, list[int]]:
            credited = Counter({(5,): 1, (6,): 1})
            return self.circuit.count({"pairs": Counter(), "numbers": credited})

    points = reference_string.load()
    witness = {"x": [5], "y": [0], "n": [6]}
    proof = Forger(circuit, points, {}, {}, witness, Transcript(b"toy"), [b"secret"]).prove()
    if tag == 0:
        verifier.verify(circuit, points, {}, {}, Transcript(b"toy"), proof)
        return
    with pytest.raises(VerificationError) as refused:
        verifier.verify(circuit, points, {}, {}, Transcript(b"toy"), proof)
    assert refused.value.check == "constraint_identity"


def test_unknown_shapes_are_refused() -> None:
    """Circuits that the argument cannot carry do not build."""
    columns = common_columns()
    toy = Circuit(
        "toy", (), (), ("x",), (), (Lookup("l", "row_first", Table("t", 0, ((1,),)), ((Cell("x"),),)),)
    )
    assert set(columns) == {"rows_active", "row_first", "row_after_closing"}
    cell = Cell("x")
    with pytest.raises(ValueError, match="unknown"):
        replace(toy, lookups=(replace(toy.lookups[0], entries=((Cell("z"),),)),)).check_shape()
    with pytest.raises(ValueError, match="degree"):
        replace(toy, lookups=(replace(toy.lookups[0], entries=((cell * cell * cell,),)),)).check_shape()
    long = Table("t", 0, tuple((value,) for value in range(4090)))
    with pytest.raises(ValueError, match="too long"):
        replace(toy, lookups=(replace(toy.lookups[0], table=long),)).check_shape()
