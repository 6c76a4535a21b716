"""The public catalogue that the recommendation task is about: 1,000 items and their descriptions."""

import csv
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

ITEMS = 1000
LIKENESS_STEPS = 2.0**13
"""Steps of the items' likeness in one unit."""
_WORD = re.compile(r"[A-Z]{2,}")


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of the model's coordinates.

    index: where an item stands, by its code and by its description, both in upper case.
    words: TF-IDF vectors of the descriptions with unit norm, shape (1000, v). Rounded to multiples of 2^-20,
    so that they are the same on every machine, whatever its logarithm's last bit.
    """

    codes: tuple[str, ...]
    descriptions: tuple[str, ...]
    index: dict[str, int]
    words: NDArray[np.float64]

    @cached_property
    def likeness(self) -> NDArray[np.float64]:
        """The cosine similarity of every two descriptions, shape (1000, 1000), in steps.

        A basket's sum of them is exact even in float32, in any order: 10 bits of items, 13 of fraction.
        """
        cosine = self.words @ self.words.T
        steps: NDArray[np.float64] = np.rint(cosine * LIKENESS_STEPS) / LIKENESS_STEPS
        return steps

    def position(self, item: str) -> int | None:
        """Where an item stands, by its code or its description, letter case ignored; None if nowhere."""
        return self.index.get(item.strip().upper())


@cache
def catalogue() -> Catalogue:
    """The catalogue that ships with this package; see its attribution in deploy/demo/data."""
    text = resources.files(__package__).joinpath("catalogue.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))[1:]
    codes = tuple(code for code, _ in rows)
    descriptions = tuple(description for _, description in rows)
    index = {name.upper(): place for names in (descriptions, codes) for place, name in enumerate(names)}
    return Catalogue(codes, descriptions, index, _tf_idf(descriptions))


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
