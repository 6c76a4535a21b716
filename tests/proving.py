"""Small true statements of every kind and the openings behind them, for tests of the proof system."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intertwine.zk import dataset, glm, release, statistics
from intertwine.zk.dataset import DatasetOpening, PageStatement, Shape
from intertwine.zk.glm import GlmStatement, LotOpening, Model
from intertwine.zk.instance import Instance
from intertwine.zk.noise import NoiseOpening
from intertwine.zk.prover import Progress, Prover, Witness
from intertwine.zk.release import ReleaseStatement
from intertwine.zk.statistics import StatisticsStatement

CONTEXT, BEACON, SLOT, SEED = b"context", b"beacon".ljust(32), b"slot".ljust(32), b"seed".ljust(32)

KINDS = ("release", "dataset", "statistics", "glm")


@dataclass(frozen=True)
class Case:
    """A statement with what proves it. module: the statement's; openings: what `prove` takes besides."""

    statement: Any
    openings: tuple[Any, ...]
    prove_with: Callable[..., bytes]
    verify_with: Callable[[Any, bytes], None]
    instance_of: Callable[[Any], Instance]
    witness_of: Callable[..., Witness]

    def changed(self, **fields: object) -> "Case":
        """The same openings for a statement that differs in these fields."""
        return replace(self, statement=replace(self.statement, **fields))

    def prove(self, progress: Progress | None = None) -> bytes:
        return self.prove_with(self.statement, *self.openings, progress=progress)

    def verify(self, proof: bytes) -> None:
        self.verify_with(self.statement, proof)

    def prover(self) -> Prover:
        """The prover itself, of a statement that may be false."""
        return self.instance_of(self.statement).prover(self.witness_of(self.statement, *self.openings))


def vector(dimension: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng([seed, dimension]).integers(-40, 41, dimension, dtype=np.int64)


def release_case(
    gradient: NDArray[np.int64], sigma: int = 50, norm_bound: int = 3000, seed: bytes = SEED
) -> Case:
    return release_of(release.commit(gradient, sigma, seed), norm_bound)


def release_of(opening: release.Opening, norm_bound: int = 3000) -> Case:
    sigma = opening.noise.sigma
    update = opening.gradient + release.noise(opening, BEACON, SLOT)
    statement = ReleaseStatement(CONTEXT, BEACON, SLOT, sigma, norm_bound, opening.commitments, update)
    return Case(
        *(statement, (opening,), release.prove, release.verify, release.instance_of, release.witness_of)
    )


def records(rows: int, shape: Shape, seed: bytes = SEED) -> DatasetOpening:
    """Random small records of a shape whose row bound is at least 3·sqrt(columns)."""
    generator = np.random.default_rng([rows, shape.columns, *seed])
    features = generator.integers(-3, 4, (rows, shape.columns), dtype=np.int64)
    if shape.entries == "uniform":
        features = (features > 1) * generator.integers(0, 4, (rows, 1), dtype=np.int64)
    labels = None
    if shape.label != "none":
        low, high = (0, 2) if shape.label == "binary" else (-900, 901)
        labels = generator.integers(low, high, rows, dtype=np.int64)
    return dataset.commit_dataset(features, labels, shape, seed)


def page_case(opening: DatasetOpening, index: int = 0) -> Case:
    def witness(statement: PageStatement, opening: DatasetOpening, index: int) -> Witness:
        return dataset.witness_of(statement, opening.pages[index])

    statement = PageStatement(CONTEXT, opening.shape, opening.dataset.pages[index])
    return Case(
        *(statement, (opening, index), dataset.prove_page, dataset.verify_page, dataset.instance_of, witness)
    )


def statistics_case(
    opening: DatasetOpening,
    moment: statistics.Moment,
    weights: statistics.Weights,
    sigma: int = 50,
    seed: bytes = SEED,
) -> Case:
    noise = NoiseOpening(statistics.dimension(opening.shape, moment), sigma, seed)
    update = statistics.exact_sum(opening, moment, weights) + noise.noise(BEACON, SLOT)
    statement = StatisticsStatement(
        *(CONTEXT, BEACON, SLOT, sigma, opening.dataset, moment, weights, noise.commitments, update)
    )
    return Case(
        *(statement, (opening, noise), statistics.prove, statistics.verify),
        *(statistics.instance_of, statistics.witness_of),
    )


def glm_case(
    opening: DatasetOpening,
    model: Model,
    parameters: NDArray[np.float64],
    sigma: int = 50,
    seed: bytes = SEED,
) -> Case:
    weights, exponent = glm.quantise_weights(parameters, opening.shape, model)
    noise = NoiseOpening(opening.shape.columns, sigma, seed)
    rows = tuple(page.page.rows for page in opening.pages)
    lot = LotOpening(rows, seed) if model.lot < 2048 else None
    points = () if lot is None else lot.commitments
    step = glm.exact_step(opening, model, weights, exponent, lot, BEACON, SLOT)
    statement = GlmStatement(
        *(CONTEXT, BEACON, SLOT, sigma, opening.dataset, model, weights, exponent),
        *(noise.commitments, points, step + noise.noise(BEACON, SLOT)),
    )
    return Case(*(statement, (opening, noise, lot), glm.prove, glm.verify, glm.instance_of, glm.witness_of))


def make_case(kind: str, seed: bytes = SEED) -> Case:
    """A statement of this kind, small but with every feature: two pages of records, labels, a secret lot."""
    shape = Shape(3, 6, "binary")
    if kind == "release":
        return release_case(vector(20, seed[0]), seed=seed)
    if kind == "dataset":
        return page_case(records(9, shape, seed))
    two_pages = DatasetOpening.concatenate([records(9, shape, seed), records(5, shape, seed)])
    if kind == "statistics":
        return statistics_case(two_pages, "sum", "label", seed=seed)
    return glm_case(two_pages, Model("logistic", 100, "1.5", 700), np.array([0.5, -2.0, 1.25]), seed=seed)


example = cache(make_case)
"""The same as `make_case`, made once: not for tests that count proofs."""


@cache
def example_proof(kind: str) -> bytes:
    return example(kind).prove()
