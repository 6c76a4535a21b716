"""Cheats at enrolment: records outside their bounds."""

from dataclasses import replace

import numpy as np

from intertwine.zk.circuit import Challenges
from intertwine.zk.dataset import Shape
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Columns
from tests.conformance.forgery.cases import IDENTITY, OPENING, case
from tests.conformance.forgery.circuit_cases import HALF
from tests.conformance.forgery.plays import SHAPES, UNIFORM, Forged, page_play, records


def table(*first: int, label: str = "binary") -> np.ndarray:
    """Twenty good records, the first one replaced."""
    features, labels = records(label, 20, "table")
    rows = np.column_stack([features] if labels is None else [features, labels])
    rows[0, : len(first)] = first
    return rows


WIDE = Shape(3, 2047, "binary")


@case("dataset", "row_norm_plus_1", IDENTITY, ["row_norm"])
def _row_norm() -> Forged:
    """A record's squared norm is the bound's plus 1; the slack is 0."""
    return page_play(table(30, 40, 1), SHAPES["binary"]).forge()


@case("dataset", "row_norm_plus_1", IDENTITY, ["sum_end"], "limb")
def _row_norm_limb() -> Forged:
    """A record's squared norm is the bound's plus 1; a limb of the slack is -1."""
    play = page_play(table(30, 40, 1), SHAPES["binary"])
    play.set("slack_0", 0, -1)
    return play.forge()


@case("dataset", "row_norm_plus_1", IDENTITY, ["row_norm"], "below-the-records")
def _row_norm_below() -> Forged:
    """A row below the page's last record is too long."""
    rows = np.concatenate([table(), table(30, 40, 1)[:1]])
    return page_play(rows, SHAPES["binary"], rows=20).forge()


@case("dataset", "projection_over_bound", IDENTITY, ["sum_end"])
def _entry_1024() -> Forged:
    """A feature is 1024."""
    return page_play(table(1024, 0, 0), WIDE).forge()


@case("dataset", "projection_over_bound", IDENTITY, ["sum_end"], "negative")
def _entry_minus_1025() -> Forged:
    """A feature is -1025."""
    return page_play(table(-1025, 0, 0), WIDE).forge()


def with_field_entry(shape: Shape, value: int, others: tuple[int, ...] = (0, 0)) -> Forged:
    """A first feature that is no small integer; the slack makes up for it."""
    play = page_play(table(0, *others), shape)
    play.commit("x[0]", 0, value)
    square = value * value + sum(other * other for other in others)
    play.set("slack_0", 0, (shape.row_bound**2 - square) % MODULUS)
    play.set("slack_1", 0, 0)
    return play.forge()


@case("dataset", "entry_is_half", IDENTITY, ["sum_end"])
def _half() -> Forged:
    """A feature is 1/2 mod r."""
    return with_field_entry(SHAPES["binary"], HALF)


@case("dataset", "norm_wrap", IDENTITY, ["sum_end"])
def _norm_wrap() -> Forged:
    """The square of a feature is negative mod r and hides a record of norm 1000 under a bound of 50."""
    return with_field_entry(SHAPES["binary"], pow(7, (MODULUS - 1) // 4, MODULUS) * 1000, (1000, 0))


@case("dataset", "label_is_2", IDENTITY, ["label_boolean"])
def _label_2() -> Forged:
    """A binary label is 2."""
    return page_play(table(1, 2, 3, 2), SHAPES["binary"]).forge()


@case("dataset", "label_is_2", IDENTITY, ["sum_end"], "integer")
def _label_1024() -> Forged:
    """An integer label is 1024."""
    return page_play(table(1, 2, 3, 1024, label="integer"), SHAPES["integer"]).forge()


def baskets(*first: int) -> np.ndarray:
    """Four sets of items with a weight each (the last column), the first one replaced."""
    rows = np.array([(5, 0, 5, 5), (0, 0, 0, 0), (3, 3, 3, 3), (0, 7, 0, 7)], dtype=np.int64)
    rows[0, : len(first)] = first
    return rows


@case("dataset", "weight_not_uniform", IDENTITY, ["uniform", "row_norm"])
def _two_weights() -> Forged:
    """A feature of uniform entries is neither 0 nor the record's weight."""
    return page_play(baskets(5, 4, 0, 5), UNIFORM).forge()


@case("dataset", "weight_not_uniform", IDENTITY, ["uniform"], "norm-kept")
def _two_weights_of_right_norm() -> Forged:
    """Features of uniform entries differ, with weight times their sum below the squared bound."""
    play = page_play(baskets(-45, 46, 0, 20), UNIFORM)
    room = 50**2 - 20
    play.set("slack_0", 0, room % 2048)
    play.set("slack_1", 0, room // 2048)
    return play.forge()


@case("dataset", "weight_not_uniform", IDENTITY, ["sum_end"], "negative")
def _negative_weight() -> Forged:
    """The weight of uniform entries is -5, and so are its features."""
    return page_play(baskets(-5, 0, -5, -5), UNIFORM).forge()


@case("dataset", "row_norm_plus_1", IDENTITY, ["row_norm"], "uniform")
def _uniform_norm() -> Forged:
    """A set of items is too long by its weight."""
    return page_play(baskets(30, 30, 30, 30), UNIFORM).forge()


@case("dataset", "linear_column_opened_elsewhere", OPENING)
def _uniform_elsewhere() -> Forged:
    """The combined features are what two different weights would need, not a sum of the commitments."""
    play = page_play(baskets(5, 4, 0, 5), UNIFORM)
    honest, fifth = play.witness.linear, pow(5, -1, MODULUS)

    def forged(known: Challenges) -> Columns:
        columns = {name: list(rows) for name, rows in honest(known).items()}
        columns["combined"][0] = (25 + known["theta"] * 16) * fifth % MODULUS
        columns["total"][0] = 41 * fifth % MODULUS
        return columns

    play.witness = replace(play.witness, linear=forged)
    return play.forge()
