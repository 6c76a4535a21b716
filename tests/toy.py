"""A task so small that its proofs take a second: three features and a label, by any statement."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from intertwine.models.clipping import project
from intertwine.models.recipes import RECIPES, Recipe
from intertwine.models.registry import TASKS
from intertwine.models.simulation import Participants, for_epsilon
from intertwine.models.task import (
    Arrays,
    Clipping,
    Evaluation,
    Features,
    Labels,
    ModelCard,
    Parameters,
    Update,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import Entries, Label, ReleaseMechanism
from intertwine.protocols.model_file import parameters_marker

STATISTICS: dict[str, Any] = {
    "mechanism": {
        "statement": "statistics",
        "moment": "sum",
        "weights": "one",
        "label": "binary",
        "entries": "integer",
        "row_bound": 32,
    },
    "record_bound": 32,
}
"""Choices of a plan that sums the records."""


def glm(lot: int = 2048) -> dict[str, Any]:
    """Choices of a plan that takes a step of logistic regression."""
    mechanism = {
        "statement": "glm",
        "link": "logistic",
        "label": "binary",
        "entries": "integer",
        "row_bound": 32,
        "residual_bound": 5,
        "lot": lot,
        "label_unit": "1",
        "residual_norm": "1",
    }
    return {"mechanism": mechanism, "record_bound": 160}


@dataclass(frozen=True)
class Points:
    """Features, shape (n, 3), and labels, shape (n,)."""

    features: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class ToyTask:
    """Records are lines of four integers: three features of norm at most 32, and 0 or 1."""

    name = "toy"
    version = 1
    record = "a line"
    dimension = 3
    fewest_records = 1
    metric_name = "none"
    higher_is_better = True
    baseline_name = "none"
    card = ModelCard("none", {}, {}, ())
    columns = 3
    row_bound = 32
    label: Label = "binary"
    entries: Entries = "integer"
    record_norm = "1"

    def load(self, path: Path) -> Points:
        try:
            table = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read.") from error
        return Points(table[:, :3], table[:, 3])

    def initial_parameters(self) -> Parameters:
        return np.zeros(3)

    def update(self, parameters: Parameters, records: Points, clipping: Clipping) -> Update:
        return project(records.features.sum(axis=0), clipping.update_bound)

    def dataset(self, records: Points) -> tuple[Features, Labels | None]:
        return records.features, records.labels

    def evaluate(self, parameters: Parameters, records: Points) -> Evaluation:
        return Evaluation(0.0, 0.0, 0.0)

    def template(self) -> bytes:
        return b"toy " + parameters_marker(3)

    def inputs(self, records: Points) -> Arrays:
        return {}

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        return {}

    def describe(self, records: Points, outputs: Arrays) -> list[str]:
        return []


TOY_RECIPE = Recipe(
    mechanism=ReleaseMechanism(update_bound=10_000),
    rounds=1,
    sigma=50,
    record_norm="1",
    record_bound=32,
    delta="1e-5",
    learning_rate="1",
    momentum="0",
    normaliser="10",
    average_last=1,
)


def register(patch: pytest.MonkeyPatch) -> str:
    """Make the task known until `patch` is undone; returns its name."""
    patch.setitem(TASKS, ToyTask.name, ToyTask)
    patch.setitem(RECIPES, ToyTask.name, TOY_RECIPE)
    return ToyTask.name


def write_points(path: Path, count: int, seed: int) -> Path:
    """Invent a data file."""
    rng = np.random.default_rng(seed)
    table = np.column_stack([rng.integers(-9, 10, (count, 3)), rng.integers(0, 2, count)])
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return path


def federation_cell(epsilon: float, seed: int) -> dict[str, float]:
    """A cell of a sweep: the first parameter of one simulated federation, under the name of a real figure."""
    points = Points(np.ones((4, 3), dtype=np.int64), np.ones(4, dtype=np.int64))
    recipe = for_epsilon(ToyTask(), TOY_RECIPE, epsilon)
    parameters = Participants(ToyTask(), [points]).simulate(recipe, seed).parameters
    return {"hr10_hybrid": float(parameters[0])}


def federation_baselines() -> dict[str, float]:
    """What would have no noise."""
    return {"naive": 0.25}


def federation_examples() -> list[dict[str, Any]]:
    """What a page shows of a recommender."""
    return [{"customer": "<one>", "bought": ["a"], "offered": ["b"]}]
