"""Cheats with sums over enrolled records: which records, which pages, which combination."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from intertwine.zk import noise, proof_file
from intertwine.zk.circuit import Challenges
from intertwine.zk.dataset import Dataset, DatasetOpening
from intertwine.zk.field import MODULUS
from intertwine.zk.prover import Columns
from tests.conformance.forgery import provers
from tests.conformance.forgery.cases import IDENTITY, OPENING, add, case
from tests.conformance.forgery.circuit_cases import HALF
from tests.conformance.forgery.noise_cases import with_public_columns
from tests.conformance.forgery.plays import Forged, Play, enrolled, glm_play, page_opening, statistics_play

SUMS: tuple[tuple[str, str, Callable[..., Play]], ...] = (
    ("statistics", "", statistics_play),
    ("statistics", "one", partial(statistics_play, "sum", "one")),
    ("statistics", "gram", partial(statistics_play, "gram", "one")),
    ("glm", "", glm_play),
)


def share(play: Play, record: np.ndarray) -> np.ndarray:
    """What a record (features, label) with residual 1 adds to the sum."""
    if getattr(play.statement, "moment", "") == "gram":
        return np.outer(record, record)[np.triu_indices(len(record))]
    return record[:3] * (record[3] if getattr(play.statement, "weights", "") == "label" else 1)


def add_vector(play: Play, vector: np.ndarray) -> None:
    """Move sum and update alike: u - g stays the noise."""
    play.change(update=play.statement.update + vector)
    drawn = play.secrets["noise"].noise(play.statement.beacon, play.statement.slot)
    play.early["g[0]"] = (play.statement.update - drawn).tolist()


def balanced(make: Callable[..., Play]) -> Forged:
    play = make()
    vector = np.zeros(len(play.statement.update), dtype=np.int64)
    vector[:2] = (1, -1)
    add_vector(play, vector)
    return play.forge()


def half_in_sum(make: Callable[..., Play]) -> Forged:
    play = make()
    play.set("g[0]", 1, HALF)
    return play.forge()


def other_records(make: Callable[..., Play]) -> Forged:
    stated = make().statement.dataset
    play = make(opening=enrolled("binary", "other records"))
    play.change(dataset=stated)
    return play.forge()


def page_omitted(make: Callable[..., Play]) -> Forged:
    play = make()
    for row, record in enumerate(play.secrets["dataset"].pages[1].table):
        add_vector(play, -residual(play, row, page=1) * share(play, record))
    play.make = provers.omitting("rows[1]")
    return play.forge()


def residual(play: Play, row: int, page: int = 0) -> int:
    """What the record's features are multiplied by: in a glm step s·e, otherwise 1."""
    if "lot" not in play.secrets:
        return 1
    label = play.secrets["dataset"].pages[page].table[row, 3]
    gain = play.statement.model.label_gain * label - play.early[f"link[{page}]"][row]
    return int(play.early[f"lot_in[{page}]"][row] * gain)


EXTRA = np.array([20, -30, 10, 1])


def record_beyond_rows(make: Callable[..., Play]) -> Play:
    """Row 20 of the first page holds one record more than the statement's 20."""
    opening = enrolled("binary")
    first = page_opening(np.vstack([opening.pages[0].table, EXTRA]), opening.shape)
    features = np.insert(opening.features, 20, EXTRA[:3], axis=0)
    labels = np.insert(opening.labels, 20, EXTRA[3])
    play = make(opening=DatasetOpening(opening.shape, features, labels, (first, opening.pages[1])))
    stated, second = play.statement.dataset.pages
    play.secrets["wished"] = proof_file.instance_of(play.statement)
    play.change(dataset=Dataset(opening.shape, (replace(stated, rows=20), second)))
    return play


def counted_beyond_rows(make: Callable[..., Play]) -> Forged:
    play = record_beyond_rows(make)
    if "lot" in play.secrets:  # no public bits below the last record: the prover's alone decide
        play.commit("lot_r[0]", 20, 5)
        before = residual(play, 20)
        for column, value in (("lot_carry", 0), ("lot_bits", 5), ("lot_in", 1)):
            play.set(f"{column}[0]", 20, value)
        add_vector(play, (residual(play, 20) - before) * share(play, EXTRA))
    return play.forge()


def selected_beyond_rows(make: Callable[..., Play]) -> Forged:
    play = record_beyond_rows(make)
    return with_public_columns(play, play.secrets["wished"])


def record_in_blinding_row(make: Callable[..., Play]) -> Forged:
    opening = enrolled("binary")
    first = opening.pages[0]
    blinding = tuple(
        (*rows[:2], int(value), *rows[3:]) for rows, value in zip(first.blinding, EXTRA, strict=True)
    )
    hiding = replace(first, blinding=blinding)
    points = noise.commit_columns(hiding.columns(opening.shape).values())
    hiding = replace(hiding, page=replace(hiding.page, commitments=points))
    play = make(opening=replace(opening, pages=(hiding, opening.pages[1])))
    add_vector(play, share(play, EXTRA))
    play.make = provers.SumZeroAtEnd
    return play.forge()


def combined_before_theta(make: Callable[..., Play]) -> Forged:
    play = make()
    honest = play.witness.late
    play.witness = replace(play.witness, late=lambda known: honest({**known, "theta": known["alpha"]}))
    return play.forge()


for kind, variant, make in SUMS:
    BY_SUM = (
        ("g_balanced", balanced, IDENTITY, ["sum_end"], "One entry of the sum is 1 more, another 1 less."),
        ("entry_is_half", half_in_sum, IDENTITY, ["noise[0]", "sum_end"], "An entry of g is 1/2 mod r."),
        ("dataset_swapped", other_records, OPENING, [], "All holds for other records than the stated ones."),
        ("page_omitted", page_omitted, IDENTITY, ["sum_step"], "The sum is over the first of two pages."),
        (
            "record_beyond_rows",
            counted_beyond_rows,
            IDENTITY,
            ["sum_end"],
            "A record below the page's last one counts.",
        ),
        (
            "value_in_blinding_row",
            record_in_blinding_row,
            IDENTITY,
            ["sum_step"],
            "A record in a blinding row counts; the sum's end is set to 0.",
        ),
    )
    for name, cheat, check, breaks, why in BY_SUM:
        add(kind, name, check, why, partial(cheat, make), breaks, variant)
    # In a statistic the selector only multiplies linear columns: that is for the pairing to notice.
    check = OPENING if kind == "statistics" else IDENTITY
    why = "The prover's own selector lets a record below the page's last one count."
    own = f"{variant}-selector".strip("-")
    add(kind, "record_beyond_rows", check, why, partial(selected_beyond_rows, make), variant=own)
    if variant != "one":
        why = "The combination of the features was committed to with another theta."
        broken = ["left[0]", "left[1]", "sum_end"]
        add(
            kind,
            "combined_before_theta",
            IDENTITY,
            why,
            partial(combined_before_theta, make),
            broken,
            variant,
        )


@case("statistics", "gram_asymmetric", IDENTITY, ["sum_end"])
def _gram_asymmetric() -> Forged:
    """The right factor's columns are in another order: the matrix is not symmetric."""
    play = statistics_play("gram", "one")
    opening, honest = play.secrets["dataset"], play.witness.linear
    order = [1, 0, 2, 3]
    tables = [page.table for page in opening.pages]
    matrix = sum(rows.T @ rows[:, order] for rows in tables)
    add_vector(play, matrix[np.triu_indices(4)] - play.secrets["exact"])

    def linear(known: Challenges) -> Columns:
        step = pow(known["theta"], 4, MODULUS)
        powers = [pow(step, order.index(column), MODULUS) for column in range(4)]
        others = {f"other[{index}]": page.combine(powers) for index, page in enumerate(opening.pages)}
        return {**honest(known), **others}

    play.witness = replace(play.witness, linear=linear)
    return play.forge()


@case("statistics", "linear_column_opened_elsewhere", OPENING)
def _labels_elsewhere() -> Forged:
    """The label column in the sum is not the committed one: one label is flipped."""
    play = statistics_play()
    page, honest = play.secrets["dataset"].pages[0], play.witness.linear
    *features, label = page.table[2]

    def linear(known: Challenges) -> Columns:
        columns = {name: list(rows) for name, rows in honest(known).items()}
        columns["y[0]"][2] = 1 - int(label)
        return columns

    play.witness = replace(play.witness, linear=linear)
    add_vector(play, np.array(features) * (1 - 2 * label))
    return play.forge()
