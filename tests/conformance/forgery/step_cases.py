"""Cheats with a glm step: its lot, its residuals, its weights."""

from intertwine.zk import step
from tests.conformance.forgery import provers
from tests.conformance.forgery.cases import IDENTITY, OPENING, case
from tests.conformance.forgery.plays import PARAMETERS, Forged, Play, glm_play
from tests.conformance.forgery.sum_cases import add_vector, residual


def in_lot(play: Play, included: int) -> int:
    """The first record of the first page that is in the lot, or not."""
    return list(play.early["lot_in[0]"][:20]).index(included)


def change_record(play: Play, row: int, **cells: int) -> Play:
    """Change a record's cells, and the sum as the gates ask for."""
    before = residual(play, row)
    for column, value in cells.items():
        play.set(f"{column}[0]", row, value)
    features = play.secrets["dataset"].pages[0].table[row, :3]
    add_vector(play, (residual(play, row) - before) * features)
    return play


@case("glm", "lot_bit_flipped", IDENTITY, ["sum_end"])
def _lot_in() -> Forged:
    """A record outside the lot counts."""
    play = glm_play()
    return change_record(play, in_lot(play, 0), lot_in=1).forge()


@case("glm", "lot_bit_flipped", IDENTITY, ["sum_end"], "left-out")
def _lot_out() -> Forged:
    """A record of the lot does not count."""
    play = glm_play()
    return change_record(play, in_lot(play, 1), lot_in=0).forge()


@case("glm", "lot_bit_flipped", IDENTITY, ["lot_sum[0]"], "bits")
def _lot_bits() -> Forged:
    """The lot's bits of a record are not r + b."""
    play = glm_play()
    return change_record(play, in_lot(play, 0), lot_in=1, lot_bits=0).forge()


@case("glm", "lot_bit_flipped", IDENTITY, ["lot_carry_boolean[0]"], "carry")
def _lot_carry() -> Forged:
    """The lot's carry of a record is said to be 2."""
    play = glm_play()
    row = in_lot(play, 0)
    shared = step.public_lot(play.statement.beacon, play.statement.slot, [20])[0]
    play.commit("lot_r[0]", row, 7 - int(shared[row]) + 2 * 2048)
    return change_record(play, row, lot_in=1, lot_bits=7, lot_carry=2).forge()


@case("glm", "r_swapped", OPENING, [], "lot")
def _lot_swapped() -> Forged:
    """The lot's random bits are not those of the commitment that the statement names."""
    stated = glm_play().statement.lot_randomness
    play = glm_play()
    row = in_lot(play, 0)
    shared = step.public_lot(play.statement.beacon, play.statement.slot, [20])[0]
    play.commit("lot_r[0]", row, (5 - int(shared[row])) % 2048)
    carry = int(shared[row] > 5)
    change_record(play, row, lot_in=1, lot_bits=5, lot_carry=carry)
    play.change(lot_randomness=stated)
    return play.forge()


@case("glm", "residual_forged", IDENTITY, ["sum_end"])
def _residual() -> Forged:
    """A record's residual is not the table's."""
    play = glm_play()
    row = in_lot(play, 1)
    return change_record(play, row, link=play.early["link[0]"][row] - 7).forge()


def next_row(play: Play, row: int) -> dict[str, int]:
    """The residual table's row after a record's own."""
    statement = play.statement
    table = step.residual_table(statement.model, statement.dataset.shape, statement.exponent)
    high, link = table.rows[play.early["high[0]"][row] - 1]
    return {"high": high, "link": link}


@case("glm", "residual_forged", IDENTITY, ["margin[0]"], "margin")
def _margin() -> Forged:
    """A record's residual is that of the margin's neighbouring step."""
    play = glm_play()
    row = in_lot(play, 1)
    return change_record(play, row, **next_row(play, row)).forge()


@case("glm", "residual_forged", IDENTITY, ["sum_end"], "limb")
def _margin_limb() -> Forged:
    """A record's residual is that of the neighbouring step; a limb of the margin is 2048 or more."""
    play = glm_play()
    row = in_lot(play, 1)
    return change_record(play, row, **next_row(play, row), low_1=play.early["low_1[0]"][row] + 2048).forge()


@case("glm", "tuple_from_range_table", IDENTITY, ["sum_end"])
def _tuple_from_range() -> Forged:
    """A record's residual is 0 at its step: the table `range` has that row, padded with a zero."""
    return tuple_from_range().forge()


def tuple_from_range() -> Play:
    play = glm_play()
    row = in_lot(play, 1)
    play.make = provers.crediting("range", play.early["high[0]"][row])
    return change_record(play, row, link=0)


@case("glm", "tuple_from_range_table", IDENTITY, ["sum_end"], "lot")
def _tuple_from_residual() -> Forged:
    """A record's place in the lot is a row of the table `residual`: it counts as often as that says."""
    play = glm_play()
    row = in_lot(play, 1)
    statement, bits = play.statement, play.early["lot_bits[0]"][row]
    table = step.residual_table(statement.model, statement.dataset.shape, statement.exponent)
    play.make = provers.crediting("residual", bits)
    return change_record(play, row, lot_in=table.rows[bits][1]).forge()


@case("glm", "weights_altered", OPENING, [], "proven")
def _weights() -> Forged:
    """All holds for other weights than the stated ones."""
    play = glm_play(parameters=PARAMETERS[[1, 0, 2]])
    play.change(weights=glm_play().statement.weights)
    return play.forge()


@case("glm", "norm_wrap", IDENTITY, ["sum_end"], "margin")
def _margin_wraps() -> Forged:
    """A margin is split with a top part of 2048, one step beyond the table."""
    play = glm_play()
    row = in_lot(play, 1)
    high, low_0, low_1 = (int(play.early[f"{name}[0]"][row]) for name in ("high", "low_0", "low_1"))
    value = ((high - 2048) * 2048 + low_1) * 2048 + low_0
    return change_record(play, row, high=2048, low_1=value // 2048, low_0=value % 2048).forge()
