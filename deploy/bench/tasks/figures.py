"""From cells to the figures of tasks.json: means over seeds, their intervals, and what they must reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, TypeAlias

from deploy.bench.report import Verdict

Figures: TypeAlias = Mapping[str, float]
Report: TypeAlias = dict[str, Any]
"""What tasks.json holds, by section."""

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""The 97.5% point of Student's t for the mean of so many seeds."""
TASKS = ("risk", "forecast", "recommendation")
_ENDS = ("_low", "_high")


def summary(cells: Sequence[Figures]) -> dict[str, float]:
    """Each figure's mean over the seeds and, as `_low` and `_high`, the 95% interval of that mean.

    A figure that is itself the end of an interval within one cell is averaged and gets none of its own.
    """
    factor = STUDENT[len(cells)] / len(cells) ** 0.5
    found: dict[str, float] = {}
    for name in cells[0]:
        values = [each[name] for each in cells]
        found[name] = fmean(values)
        own_ends = any(name + end in cells[0] for end in _ENDS)
        if not name.endswith(_ENDS) and not own_ends:
            reach = factor * stdev(values)
            found |= {f"{name}_low": found[name] - reach, f"{name}_high": found[name] + reach}
    return found


@dataclass(frozen=True)
class Goal:
    """What a figure must reach. path: where it is in the report, a name per level.

    over: the name beside it of a figure that is subtracted first. least: whether the bound is a lower one.
    """

    path: tuple[str, ...]
    bound: float
    least: bool = True
    over: str = ""

    def verdict(self, report: Report) -> Verdict | None:
        """None if what is needed was not measured."""
        place: Any = report
        for name in self.path[:-1]:
            place = place.get(name, {})
        value, base = place.get(self.path[-1]), place.get(self.over) if self.over else 0.0
        if value is None or base is None:
            return None
        reached = value - base
        minus = f" − {self.over}" if self.over else ""
        sign = "≥" if self.least else "≤"
        return Verdict(
            title=self._place(),
            figure=self.path[-1] + minus,
            measured=number(reached),
            goal=f"{sign} {number(self.bound)}",
            passed=reached >= self.bound if self.least else reached <= self.bound,
        )

    def _place(self) -> str:
        """The section, with the epsilon or the model."""
        section, *rest, _ = self.path
        return section + "".join(f", ε = {part}" if part[0].isdigit() else f" {part}" for part in rest)


GOALS = (
    Goal(("risk", "3", "auc"), 0.845),
    Goal(("risk", "3", "coverage_at_10"), 0.54),
    Goal(("risk", "3", "auc"), 0.07, over="cvss_auc"),
    Goal(("risk", "3", "auc"), 0.03, over="local_only_auc"),
    Goal(("risk", "8", "auc"), 0.86),
    Goal(("risk", "1", "auc"), 0.75),
    Goal(("forecast", "3", "wape"), 0.593, least=False),
    Goal(("forecast", "8", "wape"), 0.591, least=False),
    *(Goal(("forecast", epsilon, "mase"), 0.885, least=False) for epsilon in ("3", "8")),
    *(Goal(("forecast", epsilon, "delta_high"), 0.0, least=False) for epsilon in ("3", "8")),
    *(
        Goal(("forecast", epsilon, "wape"), 0.0, least=False, over="local_only_wape")
        for epsilon in ("3", "8")
    ),
    *(Goal(("recommendation", epsilon, "hr10_dp_pop_content"), 0.368) for epsilon in ("3", "8")),
    *(
        Goal(("recommendation", epsilon, "hr10_hybrid"), -0.003, over="hr10_local_ease")
        for epsilon in ("3", "8")
    ),
    Goal(("recommendation", "3", "small_merchant_gain"), 0.012),
    Goal(("speed", "lstm16_records_per_s"), 60_000),
    Goal(("speed", "lstm16_vs_dplstm"), 3.0),
    Goal(("speed", "logistic_records_per_s"), 3_000_000),
    *(Goal(("onnx", name, "max_abs_difference"), 1e-5, least=False) for name in TASKS),
    *(Goal(("onnx", name, "p50_ms"), 1.0, least=False) for name in TASKS),
    Goal(("simulator", "seconds"), 600.0, least=False),
)
"""The acceptance figures of the three models."""


def verdicts(report: Report) -> list[Verdict]:
    """Every goal that could be judged."""
    found = (goal.verdict(report) for goal in GOALS)
    return [verdict for verdict in found if verdict is not None]


def number(value: float) -> str:
    """A figure with the places that matter at its size."""
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"
