"""Cheats with lookups, the running sum and the norm."""

from collections.abc import Callable
from functools import partial

import numpy as np

from intertwine.zk import proof_file
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Prover
from intertwine.zk.release import Commitments
from tests.conformance.forgery import provers
from tests.conformance.forgery.cases import IDENTITY, OPENING, add, case
from tests.conformance.forgery.plays import (
    ROW,
    Forged,
    Play,
    claim,
    dataset_play,
    glm_play,
    release_play,
    statistics_play,
)

HALF = (MODULUS + 1) // 2
EXCESS = 10**4
"""By which the square of an over-long vector's norm exceeds the bound's."""

HONEST: dict[str, Callable[[], Play]] = {
    "release": release_play,
    "dataset": dataset_play,
    "statistics": statistics_play,
    "glm": glm_play,
}


def false_play(kind: str) -> Play:
    """Every gate holds, but one lookup is false."""
    play = HONEST[kind]()
    if kind == "dataset":
        play.set("slack_0", ROW, play.early["slack_0"][ROW] - 2048)
        play.set("slack_1", ROW, play.early["slack_1"][ROW] + 1)
    else:
        claim(play, 0, size=play.early["size[0,0]"][ROW] + 1)
    return play


def over_bound() -> Play:
    """A vector whose squared norm exceeds the bound's by EXCESS."""
    gradient = np.zeros(57, dtype=np.int64)
    gradient[[0, 1, -1]] = (240, 100, 320)
    return release_play(gradient=gradient)


def forge_with(make: type[Prover], play: Callable[[], Play]) -> Forged:
    played = play()
    played.make = make
    return played.forge()


def bit_reversed(kind: str) -> Forged:
    play = HONEST[kind]()
    play.reference = provers.bit_reversed_reference()
    return play.forge()


def forgetful(kind: str, forgotten: str) -> Play:
    """A forger who succeeds if the protocol does not absorb what bears the label `forgotten`."""
    play = false_play(kind)
    column = "slack_1" if kind == "dataset" else "r[0,0]"
    play.make = provers.evaluation_forger(column) if forgotten == "evaluation" else provers.OpeningForger
    play.transcript = provers.Forgetful(proof_file.instance_of(play.statement).transcript(), forgotten)
    return play


def forge_forgetfully(kind: str, forgotten: str) -> Forged:
    return forgetful(kind, forgotten).forge()


BALANCED = "Multiplicities were chosen to balance a false lookup, when alpha was known."
FALSE = (
    ("lookup_sum_nonzero", Prover, IDENTITY, ["sum_end"], "A lookup is false; the sum does not end at 0."),
    ("closing_row_altered", provers.SumZeroAtEnd, IDENTITY, ["sum_step"], "The sum's end is set to 0."),
    ("acc_start_nonzero", provers.SumShifted, IDENTITY, ["sum_first"], "The sum starts at minus its end."),
    ("acc_reset_mid_page", provers.SumReset, IDENTITY, ["sum_step"], "The sum is corrected in row 30."),
    ("helper_forged", provers.ForgedHelper, IDENTITY, ["lookup_0"], "A helper makes up for a false lookup."),
    ("multiplicity_after_alpha", provers.LateMultiplicity, IDENTITY, [], BALANCED),
    ("linear_value_forged", provers.LinearForger, OPENING, ["sum_end"], "The linear value is as asked for."),
)
for kind, honest in HONEST.items():
    for name, make, check, breaks, why in FALSE:
        add(kind, name, check, why, partial(forge_with, make, partial(false_play, kind)), breaks)
    why = "A table row is said to be used once more than it is."
    unbalanced = partial(forge_with, provers.UnbalancedMultiplicity, honest)
    add(kind, "multiplicity_unbalanced", IDENTITY, why, unbalanced, ["sum_end"])
    why = "The quotient's first two chunks trade places before the challenge."
    swapped = partial(forge_with, provers.ChunksSwapped, honest)
    add(kind, "chunk_swapped", IDENTITY, why, swapped, variant="proven")
    why = "Columns were committed to with the reference string's points in bit-reversed order."
    add(kind, "srs_bit_reversed", OPENING, why, partial(bit_reversed, kind))
    for forgotten in ("evaluation", "opening"):
        why = f"Errors cancel for a challenge that does not depend on the {forgotten}s."
        forged = partial(forge_forgetfully, kind, forgotten)
        add(kind, f"{forgotten}_not_absorbed", OPENING, why, forged, ["sum_end"])

NORM = (
    ("lookup_sum_nonzero", Prover, "sum_end", "the sum does not end at 0."),
    ("closing_row_altered", provers.SumZeroAtEnd, "sum_step", "the sum's end is set to 0."),
    ("acc_start_nonzero", provers.SumShifted, "sum_first", "the sum starts below 0."),
    ("acc_reset_mid_page", provers.SumReset, "sum_step", "the sum is corrected in row 30."),
)
for name, make, broken, how in NORM:
    why = f"The squared norm is above the bound's; {how}"
    add("release", name, IDENTITY, why, partial(forge_with, make, over_bound), [broken], "norm")


def bound_plus_1(limb: int) -> Forged:
    gradient = np.zeros(57, dtype=np.int64)
    gradient[[0, 1, -1]] = (240, 1, 320)
    play = release_play(gradient=gradient)
    play.set("slack", 0, limb)
    return play.forge()


@case("release", "norm_bound_plus_1", IDENTITY, ["sum_end"])
def _bound_plus_1() -> Forged:
    """The squared norm is the bound's plus 1; the slack is 0."""
    return bound_plus_1(0)


@case("release", "norm_bound_plus_1", IDENTITY, ["sum_end"], "limb")
def _bound_plus_1_with_limb() -> Forged:
    """The squared norm is the bound's plus 1; a limb of the slack is -1."""
    return bound_plus_1(-1)


ROOT = pow(7, (MODULUS - 1) // 4, MODULUS) * 100 % MODULUS
"""Its square is -EXCESS."""


def wrapped(row: int) -> Play:
    play = over_bound()
    play.commit("g[0]", row, ROOT)
    return play


@case("release", "norm_wrap", IDENTITY, ["noise[0]"])
def _norm_wrap() -> Forged:
    """The square of an entry of g is negative mod r and brings the norm down to the bound."""
    return wrapped(7).forge()


@case("release", "norm_wrap", IDENTITY, ["noise[0]"], "below-the-vector")
def _norm_wrap_below() -> Forged:
    """A square that is negative mod r, in a row below the vector's last, brings the norm down."""
    return wrapped(1000).forge()


@case("release", "norm_wrap", IDENTITY, ["sum_end"], "with-magnitude")
def _norm_wrap_with_magnitude() -> Forged:
    """A square that is negative mod r brings the norm down; the claimed magnitude is u - g."""
    play = wrapped(7)
    sign = 1 - 2 * play.early["sign[0,0]"][7]
    play.set("size[0,0]", 7, (int(play.statement.update[7]) - ROOT) * sign)
    return play.forge()


@case("release", "value_in_blinding_row", IDENTITY, ["sum_step"])
def _blinding_row() -> Forged:
    """A square that is negative mod r stands in a blinding row; the sum ends as if it counted."""
    play = wrapped(4090)
    play.make = provers.SumZeroAtEnd
    return play.forge()


@case("release", "entry_is_half", IDENTITY, ["noise[0]", "sum_end"])
def _half() -> Forged:
    """An entry of g is 1/2 mod r."""
    play = release_play()
    play.commit("g[0]", 2, HALF)
    return play.forge()


@case("release", "late_g", OPENING)
def _late_g() -> Forged:
    """The vector is not the one of the commitment that the statement names."""
    early = release_play().statement.commitments
    gradient = np.zeros(57, dtype=np.int64)
    gradient[3] = -399
    play = release_play(gradient=gradient)
    play.change(commitments=Commitments(play.statement.commitments.randomness, early.gradient))
    return play.forge()


@case("release", "page_omitted", IDENTITY, ["sum_step"])
def _page_omitted() -> Forged:
    """The norm is summed over the first of two pages."""
    play = release_play(DATA_ROWS + 1)
    play.change(norm_bound=240)
    play.early["slack"] = [0] * 5
    play.make = provers.omitting("g[1]")
    return play.forge()
