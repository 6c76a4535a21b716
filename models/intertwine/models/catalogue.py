"""The public catalogue that the recommendation task is about: 1,000 items and their descriptions."""

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

ITEMS = 1000
_WORD = re.compile(r"[A-Z]{2,}")


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of the model's coordinates.

    words: TF-IDF vectors of the descriptions with unit norm, shape (1000, v); their inner product is the
    cosine similarity of two items' descriptions. Rounded to multiples of 2^-20, so that they are the same
    on every machine, whatever its logarithm's last bit.
    """

    codes: tuple[str, ...]
    descriptions: tuple[str, ...]
    index: dict[str, int]
    words: NDArray[np.float64]


@cache
def catalogue() -> Catalogue:
    """The catalogue that ships with this package; see its attribution in deploy/demo/data."""
    text = resources.files(__package__).joinpath("catalogue.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))[1:]
    codes = tuple(code for code, _ in rows)
    descriptions = tuple(description for _, description in rows)
    return Catalogue(codes, descriptions, {code: i for i, code in enumerate(codes)}, _tf_idf(descriptions))


def _tf_idf(descriptions: tuple[str, ...]) -> NDArray[np.float64]:
    words = [set(_WORD.findall(description.upper())) for description in descriptions]
    vocabulary = {word: column for column, word in enumerate(sorted(set().union(*words)))}
    counts = np.zeros((len(descriptions), len(vocabulary)))
    for row, present in enumerate(words):
        counts[row, [vocabulary[word] for word in present]] = 1.0
    weighted: NDArray[np.float64] = counts * np.log(len(descriptions) / counts.sum(axis=0))
    norms = np.linalg.norm(weighted, axis=1, keepdims=True)
    rounded: NDArray[np.float64] = np.rint(weighted / np.where(norms > 0, norms, 1.0) * 2.0**20) / 2.0**20
    return rounded
