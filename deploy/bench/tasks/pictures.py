"""The page's pictures: a figure against epsilon beside its baselines, and forecasts with their bands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.bench.tasks.forecast import Example
from deploy.demo.charts import WIDTH, Level, Scale, axis_ticks, label_at, level_names, rule_at, svg, y_tick

TOP, BOTTOM, LEFT = 14, 200, 46
_NAMES = 126
"""Room for the baselines' names at the right."""


@dataclass(frozen=True)
class Point:
    """A mean over seeds and the ends of its interval."""

    epsilon: float
    mean: float
    low: float
    high: float


def epsilon_chart(points: Sequence[Point], levels: Sequence[Level], alternative: str) -> Markup:
    """Means with whiskers on a logarithmic axis of epsilon, and a horizontal line for each baseline."""
    right = WIDTH - _NAMES
    values = [end for point in points for end in (point.low, point.high)] + [level.value for level in levels]
    ticks = axis_ticks(min(values), max(values))
    y = Scale(ticks[0], ticks[-1], BOTTOM, TOP)
    x = Scale(math.log(points[0].epsilon), math.log(points[-1].epsilon), LEFT + 8, right - 8)
    parts = [y_tick(tick, ticks, y(tick), LEFT, right) for tick in ticks]
    parts += [rule_at(level, LEFT, right, y(level.value)) for level in levels]
    parts.append(_line("polyline", "curve", [(x(math.log(at.epsilon)), y(at.mean)) for at in points]))
    for point in points:
        place = x(math.log(point.epsilon))
        parts.append(label_at(place, BOTTOM + 17, f"{point.epsilon:g}", "axis", "middle"))
        parts.append(_whisker(place, y(point.low), y(point.high)))
        parts.append(Markup('<circle class="curve-dot" cx="{}" cy="{}" r="3"/>').format(place, y(point.mean)))
    parts.append(label_at((LEFT + right) / 2, BOTTOM + 34, "ε of one record", "axis", "middle"))
    if levels:
        parts += level_names(levels, y, right + 8, BOTTOM)
    return svg(BOTTOM + 42, alternative, parts)


def forecast_chart(example: Example, alternative: str) -> Markup:
    """Weekly units, and over the last weeks the forecasts with their band."""
    right, units = WIDTH - 8, example["units"]
    ticks = axis_ticks(0.0, max(*units, *example["high"]))
    y = Scale(0.0, ticks[-1], BOTTOM, TOP)
    x = Scale(0, len(units) - 1, LEFT, right)
    weeks = range(len(units) - len(example["ahead"]), len(units))

    def places(values: Sequence[float], at: Sequence[int]) -> list[tuple[float, float]]:
        return [(x(week), y(value)) for week, value in zip(at, values, strict=True)]

    band = places(example["high"], weeks) + places(example["low"], weeks)[::-1]
    note = f"units a week in {len(units)} weeks; forecasts of the last {len(weeks)}"
    parts = [
        *(y_tick(tick, ticks, y(tick), LEFT, right) for tick in ticks),
        _line("polygon", "band", band),
        _line("polyline", "units", places(units, range(len(units)))),
        _line("polyline", "curve", places(example["ahead"], weeks)),
        label_at((LEFT + right) / 2, BOTTOM + 22, note, "axis", "middle"),
    ]
    return svg(BOTTOM + 30, alternative, parts)


def _line(shape: str, kind: str, places: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x},{y}" for x, y in places)
    return Markup('<{} class="{}" points="{}"/>').format(shape, kind, path)


def _whisker(x: float, low: float, high: float) -> Markup:
    return Markup('<path class="whisker" d="M{0} {1}V{2}M{3} {1}h8M{3} {2}h8"/>').format(x, low, high, x - 4)
