"""A picture of groups of bars on one logarithmic axis of seconds, as SVG; the page styles its classes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, LABEL, NOTE, LINE = 720, 210, 120, 44
"""Of the picture, its labels, the room for numbers after a bar, and the height of one group."""
_PLACES = ((0, 15), (17, 9))
"""Offset and height of a group's first and second bar."""


@dataclass(frozen=True)
class Bar:
    """kind: the class of its style; seconds: its length, above 0; text: what to write behind it.

    goal: where to put a mark, in seconds; None for none.
    """

    kind: str
    seconds: float
    text: str
    goal: float | None = None


@dataclass(frozen=True)
class Group:
    """One or two bars under one title."""

    title: str
    bars: Sequence[Bar]


def draw(groups: Sequence[Group], alternative: str) -> Markup:
    """The picture; alternative: what it says, in words."""
    values = [bar.seconds for group in groups for bar in group.bars]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    bottom = LINE * len(groups) + 8

    def place(seconds: float) -> float:
        share = (math.log10(seconds) - low) / max(1, high - low)
        return LABEL + max(0.0, share) * (WIDTH - LABEL - NOTE)

    parts = [_tick(10.0**power, place(10.0**power), bottom) for power in range(low, high + 1)]
    for index, group in enumerate(groups):
        parts += _bars(group, LINE * index + 10, place)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, bottom + 24, alternative, Markup("").join(parts)
    )


def _bars(group: Group, top: float, place: Callable[[float], float]) -> Iterator[Markup]:
    yield _text(LABEL - 10, top + 17, group.title, "name", "end")
    for (offset, height), bar in zip(_PLACES, group.bars, strict=False):
        end = place(bar.seconds)
        shape = Markup('<rect class="{}" x="{}" y="{:.0f}" width="{:.1f}" height="{}" rx="2"/>')
        yield shape.format(bar.kind, LABEL, top + offset, max(1.0, end - LABEL), height)
        if bar.goal is not None:
            goal = place(bar.goal)
            mark = Markup('<line class="goal" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.0f}" y2="{2:.0f}"/>')
            yield mark.format(goal, top - 4, top + 15)
            end = max(end, goal)
        yield _text(end + 8, top + offset + height - 2, bar.text, f"value {bar.kind}", "start")


def _tick(seconds: float, x: float, bottom: float) -> Markup:
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1:.0f}"/>').format(x, bottom)
    return line + _text(x, bottom + 17, _short(seconds), "axis", "middle")


def _short(seconds: float) -> str:
    """A power of ten seconds in its own unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size * (1 - 1e-9):
            return f"{seconds / size:g} {unit}"
    return f"{seconds * 1e6:g} µs"


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> Markup:
    pattern = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return pattern.format(kind, x, y, anchor, text)
