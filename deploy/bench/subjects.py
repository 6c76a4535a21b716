"""What is proven: a true statement for every case, about invented vectors and records.

Seeds are fixed, so a case is the same statement in every run. Its figures do not depend on the values, only
on their sizes: gradients and residuals fill their ranges as those of the shipped recipes do.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deploy.bench.cases import SIGMAS, Case
from intertwine.zk import dataset, glm, release, statistics
from intertwine.zk.dataset import DatasetOpening, PageStatement, Shape
from intertwine.zk.glm import GlmStatement, Model
from intertwine.zk.instance import Instance
from intertwine.zk.noise import NoiseOpening
from intertwine.zk.prover import Progress
from intertwine.zk.release import ReleaseStatement
from intertwine.zk.statistics import StatisticsStatement

Statement: TypeAlias = ReleaseStatement | StatisticsStatement | GlmStatement | PageStatement

CONTEXT = b"deploy.bench"
BEACON = hashlib.sha256(b"beacon").digest()
GRADIENT_ENTRY = 1_000
NORM_BOUND = 1 << 20
BASKET_BOUND = 258
"""L2 norm of a basket in integer units: its items share one weight."""
BASKET_ITEMS = 64
"""Most items of a basket."""
WIDE = 200
"""Columns from which on an enrolled record is a basket."""
MODEL_ROW_BOUND = 66
MODEL = Model("logistic", residual_bound=75, record_norm="1")
"""One record moves the step by at most 75·66 = 4,950 units, under a deviation of 20,001."""


@dataclass(frozen=True)
class Subject:
    """A true statement, how to prove it, and its instance, built anew at every call as a verifier has to."""

    statement: Statement
    prove: Callable[[Progress], bytes]
    instance: Callable[[], Instance]


def subject(case: Case, number: int = 0) -> Subject:
    """The case's statement; `number` tells apart the participants of one round."""
    if case.statement == "release":
        return _release(case.dimension, number)
    return {"statistics": _statistics, "glm": _glm, "dataset": _dataset}[case.statement](case)


def baskets(items: int, records: int) -> NDArray[np.int64]:
    """Which record has which items, each at the record's weight; shape (records, items), norms up to 258."""
    generator = np.random.default_rng(1)
    table = np.zeros((records, items), dtype=np.int64)
    for row, count in enumerate(generator.integers(1, min(BASKET_ITEMS, items), records, endpoint=True)):
        table[row, generator.choice(items, count, replace=False)] = int(BASKET_BOUND / count**0.5)
    return table


def examples(columns: int, records: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Features, shape (records, columns), in rows of norm at most 66, and labels 0 or 1, shape (records,)."""
    generator = np.random.default_rng(2)
    direction = generator.normal(size=(records, columns))
    direction *= (MODEL_ROW_BOUND - 1) / np.linalg.norm(direction, axis=1, keepdims=True)
    return np.trunc(direction).astype(np.int64), generator.integers(0, 2, records)


def parameters(columns: int) -> NDArray[np.float64]:
    """A model's weights, shape (columns,)."""
    return np.random.default_rng(3).normal(size=columns)


def _release(dimension: int, number: int) -> Subject:
    generator = np.random.default_rng([4, number])
    gradient = generator.integers(-GRADIENT_ENTRY, GRADIENT_ENTRY, dimension)
    sigma, slot = SIGMAS["release"], _slot(number)
    opening = release.commit(gradient, sigma, _seed(number))
    update = gradient + release.noise(opening, BEACON, slot)
    statement = ReleaseStatement(CONTEXT, BEACON, slot, sigma, NORM_BOUND, opening.commitments, update)
    return Subject(
        statement,
        lambda progress: release.prove(statement, opening, progress),
        lambda: release.instance_of(statement),
    )


def _dataset(case: Case) -> Subject:
    opening = _records(case)
    statement = PageStatement(CONTEXT, opening.shape, opening.pages[0].page)
    return Subject(
        statement,
        lambda progress: dataset.prove_page(statement, opening, 0, progress),
        lambda: dataset.instance_of(statement),
    )


def _statistics(case: Case) -> Subject:
    opening, sigma, slot = _records(case), SIGMAS["statistics"], _slot(0)
    noise = NoiseOpening(case.dimension, sigma, _seed(0))
    update = statistics.exact_sum(opening, "sum", "one") + noise.noise(BEACON, slot)
    statement = StatisticsStatement(
        CONTEXT, BEACON, slot, sigma, opening.dataset, "sum", "one", noise.commitments, update
    )
    return Subject(
        statement,
        lambda progress: statistics.prove(statement, opening, noise, progress),
        lambda: statistics.instance_of(statement),
    )


def _glm(case: Case) -> Subject:
    opening, sigma, slot = _records(case), SIGMAS["glm"], _slot(0)
    noise = NoiseOpening(case.dimension, sigma, _seed(0))
    weights, exponent = glm.quantise_weights(parameters(case.dimension), opening.shape, MODEL)
    step = glm.exact_step(opening, MODEL, weights, exponent, None, BEACON, slot)
    statement = GlmStatement(
        CONTEXT,
        BEACON,
        slot,
        sigma,
        opening.dataset,
        MODEL,
        weights,
        exponent,
        noise.commitments,
        (),
        step + noise.noise(BEACON, slot),
    )
    return Subject(
        statement,
        lambda progress: glm.prove(statement, opening, noise, None, progress),
        lambda: glm.instance_of(statement),
    )


def _records(case: Case) -> DatasetOpening:
    """Baskets for wide cases and for statistics, labelled examples for the others."""
    columns, records = case.dimension, case.records or 0
    if case.statement == "statistics" or columns >= WIDE:
        shape = Shape(columns, BASKET_BOUND, "none", "uniform")
        return dataset.commit_dataset(baskets(columns, records), None, shape, _seed(0))
    shape = Shape(columns, MODEL_ROW_BOUND, "binary")
    return dataset.commit_dataset(*examples(columns, records), shape, _seed(0))


def _seed(number: int) -> bytes:
    return hashlib.sha256(b"seed %d" % number).digest()


def _slot(number: int) -> bytes:
    return hashlib.sha256(b"slot %d" % number).digest()
