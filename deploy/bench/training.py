"""The training beside each proof: one step on as many records, for an update of the same length."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deploy.bench.cases import Case
from deploy.bench.subjects import baskets, examples, parameters
from deploy.demo.data import write_participant_files
from intertwine.models import clipping as clip
from intertwine.models import lstm
from intertwine.models.forecast import ForecastTask
from intertwine.models.recipes import recipe
from intertwine.models.task import Clipping
from intertwine.protocols.mechanism import ReleaseMechanism

RETAILER = "harbour-retail"
RECORD_NORM, RECORD_BOUND = 1.0, 75
_AT_ONCE = 50
"""Records whose gradients are held in memory together."""


@dataclass(frozen=True)
class Step:
    """A training step: what it is, on how many records, and the step itself."""

    name: str
    records: int
    run: Callable[[], object]


def step(case: Case) -> Step | None:
    """The step that belongs to a case; enrolment trains nothing."""
    if case.statement == "dataset":
        return None
    if case.statement == "release":
        return _forecast() if case.dimension == lstm.DIMENSION else _perceptron(case)
    return _sum(case) if case.statement == "statistics" else _logistic(case)


def _forecast() -> Step:
    """One round's update of the shipped forecaster, on the demo's larger shop."""
    task, chosen = ForecastTask(), recipe("forecast")
    with tempfile.TemporaryDirectory() as folder:
        records = task.load(write_participant_files(Path(folder))[RETAILER]["forecast"])
    mechanism = chosen.mechanism
    if not isinstance(mechanism, ReleaseMechanism):
        raise TypeError("the forecaster's updates are no longer releases")
    limits = Clipping(float(chosen.record_norm), chosen.record_bound, mechanism.update_bound)
    start = task.initial_parameters()
    return Step(
        "forecaster: LSTM, clipped gradient per series",
        len(records.skus),
        lambda: task.update(start, records, limits),
    )


def _perceptron(case: Case) -> Step:
    """A network of one hidden layer with exactly d parameters, by torch.func, in float32."""
    inputs, hidden = layers(case.dimension)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(case.dimension, generator=generator) / inputs**0.5
    count = case.records or 0
    features = torch.randn(count, inputs, generator=generator)
    targets = torch.randn(count, generator=generator)

    def loss(flat: Tensor, feature: Tensor, target: Tensor) -> Tensor:
        inner, bias, outer = flat[: -2 * hidden], flat[-2 * hidden : -hidden], flat[-hidden:]
        state = torch.tanh(inner.view(hidden, inputs) @ feature + bias)
        return torch.square(outer @ state - target)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def run() -> NDArray[np.int64]:
        total = np.zeros(case.dimension, dtype=np.int64)
        for start in range(0, count, _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            each = gradients(weights, features[rows], targets[rows]).double().numpy()
            total -= clip.quantize(each, RECORD_NORM, RECORD_BOUND).sum(axis=0)
        return total

    return Step(f"network {inputs}-{hidden}-1: clipped gradient per record, torch.func", count, run)


def layers(dimension: int) -> tuple[int, int]:
    """Inputs f and hidden units h with h·(f + 2) = d, as near to each other as d's divisors allow.

    d counts f·h weights, h biases, and h weights to an output without bias.
    """
    hidden = max(h for h in range(1, int(dimension**0.5) + 1) if dimension % h == 0 and dimension // h > 2)
    return dimension // hidden - 2, hidden


def _sum(case: Case) -> Step:
    table = baskets(case.dimension, case.records or 0)
    return Step("counts: numpy sum over the records", len(table), lambda: table.sum(axis=0))


def _logistic(case: Case) -> Step:
    """One step of logistic regression by DP-SGD, every record in the lot, in float64."""
    features, labels = examples(case.dimension, case.records or 0)
    table, weights = features / np.linalg.norm(features, axis=1).max(), parameters(case.dimension)
    generator = np.random.default_rng(5)

    def run() -> NDArray[np.float64]:
        residual = labels - 1.0 / (1.0 + np.exp(-(table @ weights)))
        norms = np.abs(residual) * np.linalg.norm(table, axis=1)
        clipped = residual / np.maximum(norms, 1.0)
        noised: NDArray[np.float64] = clipped @ table + generator.normal(0.0, 4.0, case.dimension)
        return noised

    return Step("logistic regression: DP-SGD step, numpy", len(table), run)
