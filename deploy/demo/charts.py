"""The report's pictures: small inline SVG, coloured by the page's style sheet, each with a text alternative.

Lengths are SVG user units; every picture is WIDTH wide, so that its text stays readable on a phone. All
strings pass through Markup's escaping.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

WIDTH = 400
_EDGE = 7
_LABEL_GAP = 16
_STRIP_ROW = 56
_JITTER = (0, -5, 5, -10, 10)
_CELL = 22


@dataclass(frozen=True)
class Level:
    """A named value beside a curve or on a row.

    kind: a style class: before, after, baseline, or last (which has a name but no line).
    """

    name: str
    value: float
    kind: str


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] onto [start, end]; high must be above low."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where the value is, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(points: Sequence[tuple[int, float]], levels: Sequence[Level], alternative: str) -> Markup:
    """A curve over rounds, with horizontal lines for the levels, named at its right."""
    top, bottom, left, right = 14, 200, 46, WIDTH - 126
    values = [value for _, value in points] + [level.value for level in levels]
    ticks = axis_ticks(min(values), max(values))
    y = Scale(ticks[0], ticks[-1], bottom, top)
    x = Scale(points[0][0], points[-1][0], left, right)
    parts = [y_tick(tick, ticks, y(tick), left, right) for tick in ticks]
    parts += [_round_tick(number, x(number), bottom) for number in _round_ticks(points)]
    parts.append(label_at((left + right) / 2, bottom + 34, "round", "axis", "middle"))
    parts += [rule_at(level, left, right, y(level.value)) for level in levels]
    path = " ".join(f"{x(number)},{y(value)}" for number, value in points)
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
    dot = Markup('<circle class="curve-dot" cx="{}" cy="{}" r="2.6"/>')
    parts += [dot.format(x(number), y(value)) for number, value in points]
    parts += level_names(levels, y, right + 8, bottom)
    return svg(bottom + 42, alternative, parts)


def level_chart(levels: Sequence[Level], alternative: str) -> Markup:
    """One row with one dot for each level, on a shared axis: for a task with a single release."""
    left, right, row = _EDGE, WIDTH - _EDGE, 46
    values = [level.value for level in levels]
    ticks = axis_ticks(min(values), max(values))
    x = Scale(ticks[0], ticks[-1], left, right)
    bottom = row * len(levels) + 6
    parts = _x_ticks(ticks, x, bottom)
    for index, level in enumerate(levels):
        y = row * index + 34
        parts.append(label_at(left, y - 16, _shorten(level.name, 46), "name"))
        parts.append(
            Markup('<line class="rail" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(left, right, y)
        )
        parts.append(
            Markup('<circle class="level {}" cx="{}" cy="{}" r="6"/>').format(level.kind, x(level.value), y)
        )
        parts.append(label_at(right, y - 16, f"{level.value:.3f}", "value", "end"))
    return svg(bottom + 24, alternative, parts)


def strip_chart(rows: Sequence[tuple[str, Sequence[float], str]], alternative: str) -> Markup:
    """A row of dots for each (name, values, note), on an axis from zero, with a bar at the median."""
    left, right = _EDGE, WIDTH - _EDGE
    ticks = axis_ticks(0.0, max((value for _, values, _ in rows for value in values), default=1.0))
    x = Scale(0.0, ticks[-1], left, right)
    bottom = _STRIP_ROW * len(rows) + 8
    parts = _x_ticks(ticks, x, bottom)
    for index, (name, values, note) in enumerate(rows):
        y = _STRIP_ROW * index + 38
        parts.append(label_at(left, y - 21, _shorten(name, 36), "name"))
        parts.append(label_at(right, y - 21, note, "value", "end"))
        parts.append(
            Markup('<line class="rail" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(left, right, y)
        )
        parts += _strip(sorted(values), x, y)
    return svg(bottom + 24, alternative, parts)


def outcome_chart(rounds: Sequence[Mapping[str, Any]], labels: Mapping[str, str], alternative: str) -> Markup:
    """A square for each participant and round, in blocks by run. labels: what to call each run."""
    parts: list[Markup] = []
    y = 0
    for run, label in labels.items():
        own = [row for row in rounds if row["run"] == run]
        parts.append(label_at(0, y + 16, _shorten(label, 46), "name"))
        y += 28
        for participant in _participants(own):
            parts.append(label_at(0, y + 15, _shorten(participant, 22), "axis"))
            parts += _outcomes(own, participant, y)
            y += _CELL
        y += 14
    return svg(y, alternative, parts)


def _outcomes(rounds: Sequence[Mapping[str, Any]], participant: str, y: float) -> list[Markup]:
    """One participant's squares; they shrink where a run has many rounds."""
    left = 150
    step = min(_CELL, (WIDTH - left) / len(rounds))
    cells = []
    for index, row in enumerate(rounds):
        outcome = next((key for key in ("accepted", "rejected", "aborted") if participant in row[key]), "")
        if outcome:
            cells.append(_cell(outcome, left + index * step, y + 2, step - 3))
    return cells


def _cell(outcome: str, x: float, y: float, size: float) -> Markup:
    middle, reach = size / 2, size * 0.22
    marks = {
        "accepted": "",
        "rejected": f"M{middle - reach:.1f} {middle - reach:.1f}L{middle + reach:.1f} {middle + reach:.1f}"
        f"M{middle - reach:.1f} {middle + reach:.1f}L{middle + reach:.1f} {middle - reach:.1f}",
        "aborted": f"M{middle - reach:.1f} {middle:.1f}H{middle + reach:.1f}",
    }
    return Markup(
        '<g class="cell {}" transform="translate({:.1f} {:.1f})">'
        '<rect width="{:.1f}" height="{:.1f}" rx="3"/><path d="{}"/></g>'
    ).format(outcome, x, y, size, size, marks[outcome])


def _participants(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everyone who occurs in these rounds, by first occurrence."""
    return list(
        dict.fromkeys(
            name for row in rounds for key in ("accepted", "rejected", "aborted") for name in row[key]
        )
    )


def _strip(values: Sequence[float], x: Scale, y: float) -> list[Markup]:
    """Dots moved up and down a little, so that equal values stay visible, and the median's bar."""
    dot = Markup('<circle class="dot" cx="{}" cy="{}" r="3.6"/>')
    parts = [dot.format(x(value), y + _JITTER[index % len(_JITTER)]) for index, value in enumerate(values)]
    if values:
        middle = len(values) // 2
        median = (values[middle] + values[-middle - 1]) / 2
        bar = Markup('<line class="median" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
        parts.append(bar.format(x(median), y - 14, y + 14))
    return parts


def level_names(levels: Sequence[Level], y: Scale, x: float, bottom: float) -> list[Markup]:
    """The levels' names and values at the right, moved apart where they would overlap."""
    ordered = sorted(levels, key=lambda level: y(level.value))
    places: list[float] = []
    for level in ordered:
        lowest = places[-1] + 2 * _LABEL_GAP if places else 0.0
        places.append(max(y(level.value) - 2, lowest))
    excess = max(0.0, places[-1] + _LABEL_GAP - bottom) if places else 0.0
    parts = []
    for level, place in zip(ordered, places, strict=True):
        parts.append(label_at(x, place - excess, f"{level.value:.3f}", f"value {level.kind}"))
        parts.append(label_at(x, place - excess + 14, level.name, "axis"))
    return parts


def rule_at(level: Level, left: float, right: float, y: float) -> Markup:
    """A level's horizontal line."""
    rule = Markup('<line class="rule {0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/>')
    return rule.format(level.kind, left, right, y)


def y_tick(tick: float, ticks: Sequence[float], y: float, left: float, right: float) -> Markup:
    """A horizontal grid line with its number, one of `ticks`, at the left."""
    line = Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(left, right, y)
    return line + label_at(left - 8, y + 4, tick_label(tick, ticks), "axis", "end")


def _x_ticks(ticks: Sequence[float], x: Scale, bottom: float) -> list[Markup]:
    """Upright lines with their numbers below; the outer numbers stay within the picture."""
    line = Markup('<line class="grid" x1="{0}" x2="{0}" y1="22" y2="{1}"/>')
    anchors = ["start", *["middle"] * (len(ticks) - 2), "end"]
    return [
        line.format(x(tick), bottom) + label_at(x(tick), bottom + 17, tick_label(tick, ticks), "axis", anchor)
        for tick, anchor in zip(ticks, anchors, strict=True)
    ]


def _round_tick(number: int, x: float, bottom: float) -> Markup:
    return label_at(x, bottom + 17, str(number), "axis", "middle")


def _round_ticks(points: Sequence[tuple[int, float]]) -> list[int]:
    """At most about seven round numbers to print."""
    numbers = [number for number, _ in points]
    return numbers[:: max(1, math.ceil(len(numbers) / 7))]


def axis_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers whose range holds [low, high]; never a range of zero."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def tick_label(tick: float, ticks: Sequence[float]) -> str:
    """A tick's number with as many places as telling it from its neighbour takes."""
    step = ticks[1] - ticks[0]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    exact = round(step * 10**places, 6)
    return f"{tick:,.{places + (exact != int(exact))}f}"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def label_at(x: float, y: float, text: str, kind: str, anchor: str = "start") -> Markup:
    """A text of a style class."""
    pattern = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return pattern.format(kind, x, y, anchor, text)


def svg(height: float, alternative: str, parts: Sequence[Markup]) -> Markup:
    """A picture of these parts; alternative: what it says, in words."""
    frame = Markup('<svg class="chart" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, height, alternative, Markup("").join(parts))
