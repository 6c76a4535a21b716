"""Dishonest witnesses, named by their defect: each breaks exactly the gates it should and is refused.

The dishonest participant may choose everything it commits to (its vector and its random bits, even after the
beacon) and every witness column; the mutations below use that to leave all other constraints intact.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from intertwine.protocols.errors import VerificationError
from intertwine.zk import kzg, reference_string, release, release_circuit, sampler
from intertwine.zk.circuit import SUM
from intertwine.zk.commitment import Commitments
from intertwine.zk.domain import CLOSING_ROW
from intertwine.zk.expression import Cell
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Prover
from intertwine.zk.release import ReleaseStatement

SIGMA, BITS, NORM_BOUND = 100, 62, 400
BEACON, SLOT = b"beacon".ljust(32), b"slot".ljust(32)
DIMENSION = 57
TABLE = sampler.sampler(SIGMA).table.rows


def broken_gates(prover: Prover) -> set[str]:
    """Names of the gates, without their page, that some row violates."""
    return {
        gate.name.split("[")[0]
        for gate in prover.circuit.gates
        if np.any(prover.values(Cell(gate.selector) * gate.expression) % MODULUS)
    }


class Cheat:
    """A dishonest participant with a vector of norm exactly NORM_BOUND."""

    def __init__(self, dimension: int = DIMENSION) -> None:
        gradient = np.zeros(dimension, dtype=np.int64)
        gradient[[0, -1]] = (240, 320)
        self.opening = release.commit(gradient, SIGMA, b"seed".ljust(32))
        self.shared = release.public_randomness(BEACON, SLOT, dimension, SIGMA)
        self.noise = release.noise(self.opening, BEACON, SLOT)
        self.update = gradient + self.noise
        self.norm_bound = NORM_BOUND
        self.make: type[Prover] = Prover

    def draw(self, row: int, value: int) -> None:
        """Choose an entry's random bits so that its uniform bits are `value`, and add the noise they give."""
        self.opening.random_bits = self.opening.random_bits.copy()
        self.opening.random_bits[row] = (value - int(self.shared[row])) % 2**BITS
        self.set_randomness(row, int(self.opening.random_bits[row]))
        self.noise = release.noise(self.opening, BEACON, SLOT)
        self.update = self.opening.gradient + self.noise

    def set_randomness(self, row: int, value: int) -> None:
        """Commit to any field element as an entry's random bits."""
        self.opening.columns["r[0]"][row] = value

    def run(self, mutate: Callable[[Prover], None] = lambda prover: None) -> tuple[set[str], str]:
        """The gates broken by the mutated witness, and the name of the check that refuses the proof."""
        lagrange = reference_string.load().lagrange
        pages = {
            name: tuple(
                kzg.encode_point(kzg.commit_column(lagrange, column))
                for label, column in self.opening.columns.items()
                if label.startswith(name)
            )
            for name in "rg"
        }
        statement = ReleaseStatement(
            b"context", BEACON, SLOT, SIGMA, self.norm_bound, Commitments(pages["r"], pages["g"]), self.update
        )
        prover = release._prover(statement, self.opening, make=self.make)
        mutate(prover)
        proof = prover.prove()
        with pytest.raises(VerificationError) as refusal:
            release.verify(statement, proof)
        assert not prover.satisfied
        return broken_gates(prover), refusal.value.check


def test_satisfying_witness() -> None:
    cheat = Cheat()
    statement = ReleaseStatement(
        b"context", BEACON, SLOT, SIGMA, NORM_BOUND, cheat.opening.commitments, cheat.update
    )
    prover = release._prover(statement, cheat.opening)
    proof = prover.prove()
    assert prover.satisfied and not broken_gates(prover)
    release.verify(statement, proof)


def test_c_is_2() -> None:
    cheat = Cheat()
    cheat.draw(3, 12345)
    cheat.set_randomness(3, 12345 - int(cheat.shared[3]) + 2 * 2**BITS)

    def mutate(prover: Prover) -> None:
        prover.witness["carry[0]"][3] = 2

    assert cheat.run(mutate) == ({"carry_boolean"}, "constraint_identity")


def test_sign_is_2() -> None:
    """With sign 2 the noise would be -|z|/3."""
    cheat = Cheat()
    magnitude, low, _ = TABLE[30]
    cheat.draw(3, low)
    cheat.set_randomness(3, low - int(cheat.shared[3]) + 2 * 2 ** (BITS - 1))
    cheat.update[3] = cheat.opening.gradient[3] - magnitude // 3

    def mutate(prover: Prover) -> None:
        prover.witness["sign[0]"][3] = 2
        prover.witness["carry[0]"][3] = 0

    assert magnitude % 3 == 0
    assert cheat.run(mutate) == ({"sign_boolean"}, "constraint_identity")


def set_limbs(prover: Prover, name: str, row: int, *limbs: int) -> None:
    for index, limb in enumerate((*limbs, *[0] * (release_circuit.LIMBS - len(limbs)))):
        prover.witness[f"{name}_{index}[0]"][row] = limb


def set_distance(prover: Prover, name: str, row: int, value: int) -> None:
    set_limbs(prover, name, row, *(value >> (11 * index) & 2047 for index in range(release_circuit.LIMBS)))


def test_t_off_by_one_low() -> None:
    """t' one below its interval claims the magnitude of the next one."""
    cheat = Cheat()
    magnitude, low, high = TABLE[40]
    cheat.draw(3, low - 1)
    cheat.update[3] = cheat.opening.gradient[3] + magnitude

    def mutate(prover: Prover) -> None:
        set_limbs(prover, "below", 3, -1)
        set_distance(prover, "above", 3, high - low)

    assert cheat.run(mutate) == ({"lookup_sum_last"}, "constraint_identity")


def test_t_off_by_one_high() -> None:
    """t' = T_hi claims the magnitude of the interval that it has just left."""
    cheat = Cheat()
    magnitude, low, high = TABLE[40]
    cheat.draw(3, high)
    cheat.update[3] = cheat.opening.gradient[3] + magnitude

    def mutate(prover: Prover) -> None:
        set_distance(prover, "below", 3, high - low)
        set_limbs(prover, "above", 3, -1)

    assert cheat.run(mutate) == ({"lookup_sum_last"}, "constraint_identity")


def test_smaller_sigma_table() -> None:
    """An entry sampled with the thresholds of sigma 50."""
    cheat = Cheat()
    magnitude, low, high = sampler.sampler(50).table.rows[20]
    cheat.draw(3, low)
    cheat.update[3] = cheat.opening.gradient[3] + magnitude

    def mutate(prover: Prover) -> None:
        set_distance(prover, "below", 3, 0)
        set_distance(prover, "above", 3, high - 1 - low)

    assert cheat.run(mutate) == ({"lookup_sum_last"}, "constraint_identity")


def test_limb_2048() -> None:
    cheat = Cheat()
    cheat.draw(3, TABLE[40][1] + 5 + 2048 * 7)
    assert cheat.run(lambda prover: set_limbs(prover, "below", 3, 5 + 2048, 6)) == (
        {"lookup_sum_last"},
        "constraint_identity",
    )


def test_limb_minus_one() -> None:
    cheat = Cheat()
    cheat.draw(3, TABLE[40][1] + 2047)
    assert cheat.run(lambda prover: set_limbs(prover, "below", 3, -1, 1)) == (
        {"lookup_sum_last"},
        "constraint_identity",
    )


def test_noise_halved() -> None:
    """The dishonest participant of the demonstration."""
    cheat = Cheat()
    cheat.update = cheat.opening.gradient + np.round(cheat.noise / 2).astype(np.int64)
    assert cheat.run() == ({"lookup_sum_last"}, "constraint_identity")


def test_u_entry_plus_1() -> None:
    cheat = Cheat()
    cheat.update[-1] += 1
    assert cheat.run() == ({"lookup_sum_last"}, "constraint_identity")


def test_multiplicity_unbalanced() -> None:
    class Unbalanced(Prover):
        def multiplicities(self) -> dict[str, list[int]]:
            columns = super().multiplicities()
            columns["range.multiplicity"][7] += 1
            return columns

    cheat = Cheat()
    cheat.make = Unbalanced
    assert cheat.run() == ({"lookup_sum_last"}, "constraint_identity")


def test_lookup_sum_nonzero() -> None:
    """The running sum is set to zero where it has to end."""

    class ZeroAtEnd(Prover):
        def running_sum(self) -> list[int]:
            return [*super().running_sum()[:-1], 0]

    cheat = Cheat()
    cheat.update[5] += 1
    cheat.make = ZeroAtEnd
    assert cheat.run() == ({"lookup_sum_step"}, "constraint_identity")


def test_lookup_sum_start_nonzero() -> None:
    class Shifted(Prover):
        def running_sum(self) -> list[int]:
            rows = super().running_sum()
            return [(value - rows[-1]) % MODULUS for value in rows]

    cheat = Cheat()
    cheat.update[5] += 1
    cheat.make = Shifted
    assert cheat.run() == ({"lookup_sum_first"}, "constraint_identity")


@pytest.mark.parametrize("lookup", ["limbs_0", "limbs_4", "threshold"])
def test_helper_forged(lookup: str) -> None:
    """A helper that is not the inverse makes the sum end at zero."""

    class Forged(Prover):
        def commit_column(self, name: str, rows: list[int]) -> None:
            if name == SUM and rows[-1]:
                helper = list(self.rows[f"{lookup}[0].helper"])
                helper[5] = (helper[5] - rows[-1]) % MODULUS
                self.rows[f"{lookup}[0].helper"] = helper
                rows = self.running_sum()
            super().commit_column(name, rows)

    cheat = Cheat()
    cheat.update[5] += 1
    cheat.make = Forged
    assert cheat.run() == ({lookup}, "constraint_identity")


def test_norm_bound_plus_1() -> None:
    """The norm's square exceeds the bound's by one: -1 has no limbs in range."""
    cheat = Cheat()
    gradient = cheat.opening.gradient
    gradient[1] = 1
    cheat.opening.columns["g[0]"][1] = 1
    cheat.update = gradient + cheat.noise
    assert cheat.run() == ({"norm_bound"}, "constraint_identity")

    def limb_minus_one(prover: Prover) -> None:
        set_limbs(prover, "below", CLOSING_ROW, -1)

    assert cheat.run(limb_minus_one) == ({"lookup_sum_last"}, "constraint_identity")


def over_bound(dimension: int = DIMENSION) -> Cheat:
    """A vector whose squared norm exceeds the bound's square by 10^4."""
    cheat = Cheat(dimension)
    cheat.opening.gradient[1] = 100
    cheat.opening.columns["g[0]"][1] = 100
    cheat.update = cheat.opening.gradient + cheat.noise
    return cheat


def claim_norm(prover: Prover, norm: list[int]) -> None:
    """Use this norm column, with the limbs of what its end leaves of the bound."""
    prover.witness["norm"] = norm
    set_distance(prover, "below", CLOSING_ROW, (NORM_BOUND**2 - norm[-1]) % MODULUS)


def test_acc_start_nonzero() -> None:
    def mutate(prover: Prover) -> None:
        claim_norm(prover, [value - 10**4 for value in prover.witness["norm"]])

    assert over_bound().run(mutate) == ({"norm_first"}, "constraint_identity")


def test_acc_reset_mid_page() -> None:
    def mutate(prover: Prover) -> None:
        norm = prover.witness["norm"]
        claim_norm(prover, [*norm[:30], *(value - norm[30] for value in norm[30:])])

    assert over_bound().run(mutate) == ({"norm_step"}, "constraint_identity")


def test_closing_row_altered() -> None:
    def mutate(prover: Prover) -> None:
        claim_norm(prover, [*prover.witness["norm"][:-1], NORM_BOUND**2])

    assert over_bound().run(mutate) == ({"norm_step"}, "constraint_identity")


def test_page_omitted() -> None:
    """The norm is summed over the first of two pages only."""
    cheat = Cheat(4089)
    cheat.norm_bound = 240

    def mutate(prover: Prover) -> None:
        claim_norm(prover, [0, *[240**2] * 4088])
        set_limbs(prover, "below", CLOSING_ROW, 0)

    assert cheat.run(mutate) == ({"norm_step"}, "constraint_identity")


def square_root_of_minus(value: int) -> int:
    """A field element whose square is -value: 10^4 and -1 are both squares."""
    root = pow(pow(7, (MODULUS - 1) // 4, MODULUS) * 100, 1, MODULUS)
    assert (root * root + value) % MODULUS == 0
    return root


@pytest.mark.parametrize("row", [DIMENSION, CLOSING_ROW, CLOSING_ROW + 1])
def test_norm_wrap_and_value_in_blinding_row(row: int) -> None:
    """A committed entry with square -10^4, below the vector, on the closing row or on a blinding row."""
    cheat = over_bound()
    cheat.opening.columns["g[0]"][row] = square_root_of_minus(10**4)

    def mutate(prover: Prover) -> None:
        norm = prover.witness["norm"]
        claim_norm(prover, [*norm[:1000], *(value - 10**4 for value in norm[1000:])])

    assert cheat.run(mutate) == ({"norm_step"}, "constraint_identity")


def test_norm_wrap_in_the_vector() -> None:
    """The same entry inside the vector has no update: u - g is not a magnitude."""
    cheat = over_bound()
    cheat.opening.columns["g[0]"][7] = square_root_of_minus(10**4)

    def mutate(prover: Prover) -> None:
        norm = prover.witness["norm"]
        claim_norm(prover, [*norm[:8], *(value - 10**4 for value in norm[8:])])

    assert cheat.run(mutate) == ({"lookup_sum_last"}, "constraint_identity")


def test_threshold_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with one threshold moved is refused when built; a proof made with it, by everyone else."""
    rows = list(TABLE)
    (first, low, middle), (second, _, high) = rows[0], rows[1]
    rows[:2] = [(first, low, middle - 1), (second, middle - 1, high)]
    honest = sampler.sampler(SIGMA)
    moved = replace(honest, table=replace(honest.table, rows=tuple(rows)))
    with monkeypatch.context() as patched:
        patched.setattr(sampler, "threshold_rows", lambda sigma, bits: tuple(rows))
        with pytest.raises(VerificationError) as refusal:
            sampler.sampler.__wrapped__(SIGMA)
        assert refusal.value.check == "threshold_table"
    cheat = Cheat()
    statement = ReleaseStatement(
        b"context", BEACON, SLOT, SIGMA, NORM_BOUND, cheat.opening.commitments, cheat.update
    )
    release_circuit.release_circuit.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(release_circuit, "sampler", lambda sigma: moved)
        patched.setattr(release, "sampler", lambda sigma: moved)
        proof = release.prove(statement, cheat.opening)
        release.verify(statement, proof)
    release_circuit.release_circuit.cache_clear()
    with pytest.raises(VerificationError) as refusal:
        release.verify(statement, proof)
    assert refusal.value.check == "constraint_identity"
