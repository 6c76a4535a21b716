"""What a participant lets one run of a task ask for, whatever its budget: the agent's policy.

The limits come from the task's recipe unless `settings.toml` says otherwise. By default a run may have a
quarter of the recipe's noise, twice its clipping norm, eight times its rounds, and its delta.
"""

from dataclasses import dataclass

from intertwine.models.recipes import Recipe
from intertwine.protocols.errors import BudgetError
from intertwine.protocols.plan import Plan

NOISE_SHARE, NORM_FACTOR, ROUNDS_FACTOR = 0.25, 2.0, 8


@dataclass(frozen=True)
class Policy:
    """The limits of one task.

    min_noise: of the noise multiplier sigma / record_bound, the noise's deviation in units of what one record
    can contribute to a release. max_record_norm: of the norm that a record is clipped to, in the model's
    units. max_rounds: of one run's rounds. max_delta: of the delta for which epsilon is stated.
    """

    min_noise: float
    max_record_norm: float
    max_rounds: int
    max_delta: float

    @classmethod
    def of(cls, recipe: Recipe) -> "Policy":
        """The limits for a task with this recipe, if its participant chooses none."""
        return cls(
            min_noise=NOISE_SHARE * recipe.sigma / recipe.record_bound,
            max_record_norm=NORM_FACTOR * float(recipe.record_norm),
            max_rounds=ROUNDS_FACTOR * recipe.rounds,
            max_delta=float(recipe.delta),
        )

    def check(self, plan: Plan) -> None:
        """BudgetError naming field, value and limit if the plan asks for more than this."""
        noise = plan.sigma / plan.record_bound
        if noise < self.min_noise:
            raise _refused(f"noise sigma / record_bound is {noise:.3g}, below", "min_noise", self.min_noise)
        limits = (
            ("record_norm", float(plan.record_norm), "max_record_norm", self.max_record_norm),
            ("rounds", plan.rounds, "max_rounds", self.max_rounds),
            ("delta", float(plan.delta), "max_delta", self.max_delta),
        )
        for field, value, name, limit in limits:
            if value > limit:
                raise _refused(f"{field} is {value:g}, above", name, limit)


def _refused(finding: str, name: str, limit: float) -> BudgetError:
    return BudgetError(
        f"the plan's {finding} this participant's {name} of {limit:g}.",
        f"Change its {name} in settings.toml, or let the run go on without it.",
    )
