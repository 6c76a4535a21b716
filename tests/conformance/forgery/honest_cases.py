"""Honest proofs of every statement: what both verifiers must accept."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np

from intertwine.zk.dataset import DatasetOpening, commit_dataset
from tests.conformance.forgery.cases import ACCEPTED, add
from tests.conformance.forgery.plays import (
    LINEAR,
    LOGISTIC,
    UNIFORM,
    Forged,
    Play,
    dataset_play,
    fixed,
    glm_play,
    page_play,
    release_play,
    statistics_play,
)

BASKETS = np.array([(5, 0, 5), (0, 0, 0), (3, 3, 3), (0, 50, 0)], dtype=np.int64)


def enrolled_baskets() -> DatasetOpening:
    return commit_dataset(BASKETS, None, UNIFORM, fixed("baskets"))


def uniform_page() -> Play:
    opening = enrolled_baskets()
    return page_play(opening.pages[0].table, UNIFORM)


PLAYS: tuple[tuple[str, str, Callable[[], Play], str], ...] = (
    ("release", "", release_play, "57 entries, the norm exactly at the bound."),
    ("release", "two-levels", partial(release_play, 5, 2049), "Noise of two levels."),
    ("release", "two-pages", partial(release_play, 4089), "One entry more than a page holds."),
    ("dataset", "", dataset_play, "Twenty records with binary labels, one norm exactly at the bound."),
    ("dataset", "integer", partial(dataset_play, "integer"), "Integer labels."),
    ("dataset", "none", partial(dataset_play, "none"), "No labels."),
    ("dataset", "uniform", uniform_page, "Sets of items with a weight each."),
    ("statistics", "", statistics_play, "Sum of features times label, over two pages."),
    ("statistics", "one", partial(statistics_play, "sum", "one"), "Sum of features."),
    ("statistics", "gram", partial(statistics_play, "gram", "one"), "Gram matrix of features and label."),
    (
        "statistics",
        "uniform",
        lambda: statistics_play("sum", "one", opening=enrolled_baskets()),
        "Sum over sets of items.",
    ),
    ("glm", "", glm_play, "A logistic step on a secret lot, noise of two levels."),
    (
        "glm",
        "full-lot",
        lambda: glm_play(replace(LOGISTIC, lot=2048), 200),
        "A logistic step on all records.",
    ),
    ("glm", "identity", partial(glm_play, LINEAR, 20001), "A linear step on all records."),
)


@cache
def honest(kind: str, variant: str = "") -> Forged:
    """The proof of a play that nobody altered."""
    play = next(play for other, name, play, _ in PLAYS if (other, name) == (kind, variant))
    return play().forge()


for kind, variant, _, why in PLAYS:
    add(kind, "honest", ACCEPTED, why, partial(honest, kind, variant), variant=variant)
