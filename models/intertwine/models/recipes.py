"""Recommended settings of a run of each task: the mechanism, privacy and optimiser fields of its plan.

Chosen by what they do on training data, for an epsilon near 3 towards one record (delta 1e-5) over the whole
run; docs/task-figures.md says how, and what they reach.

The forecaster's `update_bound` is well above what participants of the demo's size reach (47,700) and must be
raised for larger ones: see `clipping.project` for what happens when it binds.

The risk scorer's residuals and rows have about the same resolution, 71 and 66 units, so that neither is
rounded much more than the other. For an epsilon of 1 or less take 4 rounds and the learning rate 20: then a
residual has more units. RISK_CLASS_SUM is the other way to train it, from the same enrolled records: one
release instead of eight.
"""

from dataclasses import dataclass, fields
from typing import Any

from intertwine.models import baskets, plugins, vulnerability
from intertwine.protocols.errors import InputError
from intertwine.protocols.mechanism import (
    FULL_LOT,
    GlmMechanism,
    Mechanism,
    ReleaseMechanism,
    StatisticsMechanism,
)


@dataclass(frozen=True)
class Recipe:
    """Fields of a plan with the plan's meaning; real numbers are decimal strings, as in a plan."""

    mechanism: Mechanism
    rounds: int
    sigma: int
    record_norm: str
    record_bound: int
    delta: str
    learning_rate: str
    momentum: str
    normaliser: str
    average_last: int

    @property
    def noise(self) -> float:
        """Standard deviation of one participant's noise in the parameters after a first step, as a float."""
        scale = self.record_bound / float(self.record_norm)
        return float(self.learning_rate) * self.sigma / (scale * float(self.normaliser))

    def choices(self) -> dict[str, Any]:
        """The fields as JSON values, by the plan's names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"mechanism": self.mechanism.model_dump(mode="json")}


RECIPES = {
    "forecast": Recipe(
        mechanism=ReleaseMechanism(update_bound=70_000),
        rounds=12,
        sigma=400,
        record_norm="0.15",
        record_bound=75,
        delta="1e-5",
        learning_rate="2.5",
        momentum="0.5",
        normaliser="1238",
        average_last=4,
    ),
    "recommendation": Recipe(
        mechanism=StatisticsMechanism(
            moment="sum", weights="one", label="none", entries="uniform", row_bound=baskets.ROW_BOUND
        ),
        rounds=1,
        sigma=400,
        record_norm=baskets.RECORD_NORM,
        record_bound=baskets.ROW_BOUND,
        delta="1e-5",
        learning_rate="1",
        momentum="0",
        normaliser="5305",
        average_last=1,
    ),
    "risk": Recipe(
        mechanism=GlmMechanism(
            link="logistic",
            label="binary",
            entries="integer",
            row_bound=vulnerability.ROW_BOUND,
            residual_bound=71,
            lot=FULL_LOT,
            label_unit="1",
            residual_norm="1",
        ),
        rounds=8,
        sigma=20_001,
        record_norm=vulnerability.RECORD_NORM,
        record_bound=71 * vulnerability.ROW_BOUND,
        delta="1e-5",
        learning_rate="40",
        momentum="0",
        normaliser="12600",
        average_last=1,
    ),
}

RISK_CLASS_SUM = Recipe(
    mechanism=StatisticsMechanism(
        moment="sum", weights="label", label="binary", entries="integer", row_bound=vulnerability.ROW_BOUND
    ),
    rounds=1,
    sigma=100,
    record_norm=vulnerability.RECORD_NORM,
    record_bound=vulnerability.ROW_BOUND,
    delta="1e-5",
    learning_rate="1000",
    momentum="0",
    normaliser="12600",
    average_last=1,
)
"""Weights are the noised sum of the exploited vulnerabilities' records: they order, without probabilities."""


def recipe(task: str) -> Recipe:
    """The recommended settings of a task; a plug-in's task has them as its `recipe`.

    InputError if there is no such task, or if its plug-in has no recipe.
    """
    if task in RECIPES:
        return RECIPES[task]
    if task not in plugins.installed():
        known = ", ".join([*RECIPES, *sorted(plugins.installed())])
        raise InputError(f"There is no task {task!r}.", f"Use one of: {known}.")
    plugins.refuse_clash(task, owners=0)
    found = getattr(plugins.load(task), "recipe", None)
    if not isinstance(found, Recipe):
        raise InputError(f"The plug-in of task {task!r} has no recipe.", "Give its task one as `recipe`.")
    return found
