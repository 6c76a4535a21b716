"""The figures for people: a table for the terminal, a verdict on each goal, and a page with one picture.

The page is one file without scripts or addresses, made from the rows of proofs.json alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.table import Table

from deploy.bench.cases import Case, Row

FIGURES = {
    "prove_cpu_s": "prove, CPU",
    "prove_wall_s": "prove, wall",
    "prove_peak_mb": "peak memory",
    "verify_native_s": "verify, CPU",
    "verify_wall_s": "verify, wall",
    "verify_independent_s": "verify, py_ecc",
    "proof_bytes": "proof",
    "training_cpu_s": "training, CPU",
}
"""What to call each figure, in the order of the columns."""

WIDTH, LABEL, NOTE, LINE = 720, 210, 120, 44
"""Of the picture, its labels, the room for numbers after a bar, and the height of one case."""


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured. passed: the figure is at most the goal."""

    title: str
    figure: str
    measured: str
    goal: str
    passed: bool

    def __rich__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        word = "pass" if self.passed else "MISS"
        return f"{word}  {self.title}: {self.figure} {self.measured}, goal {self.goal}"


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Every stated goal, in the order of the cases."""
    return [
        Verdict(title(row), FIGURES[key], amount(key, row[key]), amount(key, goal), row[key] <= goal)
        for row in rows
        for key, goal in row["goals"].items()
    ]


def table(rows: Sequence[Row]) -> Table:
    """One line a case; a figure with a goal says whether it meets it."""
    shown = Table("case", box=None, pad_edge=False)
    for name in FIGURES.values():
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(title(row), *(_judged(row, key) for key in FIGURES))
    return shown


def render(rows: Sequence[Row]) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    loads = [row["load_before"] for row in rows]
    return environment.get_template("page.html").render(
        figures=FIGURES,
        cases=[
            {
                "title": title(row),
                "cells": [_judged(row, key) for key in FIGURES],
                "training": row["training"] or "–",
            }
            for row in rows
        ],
        verdicts=verdicts(rows),
        picture=_picture([row for row in rows if row["prove_cpu_s"]]),
        loads=(min(loads), max(loads)),
    )


def title(row: Row) -> str:
    """What to call a row's case."""
    return Case(row["statement"], row["dimension"], row["records"], row["proofs"]).title


def amount(key: str, value: float | None) -> str:
    """A figure with its unit; the key's ending says which."""
    if value is None:
        return "–"
    if key.endswith("_mb"):
        return f"{value:,.0f} MB"
    if key.endswith("_bytes"):
        return f"{value / 1000:,.1f} kB"
    if value >= 1:
        return f"{value:,.2f} s" if value < 10 else f"{value:,.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.2g} ms"


def _judged(row: Row, key: str) -> str:
    text = amount(key, row[key])
    if key not in row["goals"]:
        return text
    return f"{text} ({'pass' if row[key] <= row['goals'][key] else 'MISS'})"


def _picture(rows: Sequence[Row]) -> Markup:
    """Two bars a case, proving above training, on a logarithmic axis, with a mark at the goal."""
    values = [row[key] for row in rows for key in ("prove_cpu_s", "training_cpu_s") if row[key]]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    bottom = LINE * len(rows) + 8

    def place(seconds: float) -> float:
        share = (math.log10(seconds) - low) / max(1, high - low)
        return LABEL + max(0.0, share) * (WIDTH - LABEL - NOTE)

    parts = [_tick(10.0**power, place(10.0**power), bottom) for power in range(low, high + 1)]
    for index, row in enumerate(rows):
        parts += _bars(row, LINE * index + 10, place)
    alternative = "; ".join(
        f"{title(row)}: proving {amount('_s', row['prove_cpu_s'])}, "
        f"training {amount('_s', row['training_cpu_s'])}"
        for row in rows
    )
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="CPU time. {}.">{}</svg>').format(
        WIDTH, bottom + 24, alternative, Markup("").join(parts)
    )


def _bars(row: Row, top: float, place: Callable[[float], float]) -> Iterator[Markup]:
    yield _text(LABEL - 10, top + 17, title(row), "name", "end")
    for offset, height, key, kind in ((0, 15, "prove_cpu_s", "prove"), (17, 9, "training_cpu_s", "train")):
        if row[key] is None:
            continue
        end = place(row[key])
        bar = Markup('<rect class="{}" x="{}" y="{:.0f}" width="{:.1f}" height="{}" rx="2"/>')
        yield bar.format(kind, LABEL, top + offset, max(1.0, end - LABEL), height)
        if key in row["goals"]:
            goal = place(row["goals"][key])
            mark = Markup('<line class="goal" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.0f}" y2="{2:.0f}"/>')
            yield mark.format(goal, top - 4, top + 19)
            end = max(end, goal)
        yield _text(end + 8, top + offset + height - 2, amount(key, row[key]), f"value {kind}", "start")


def _tick(seconds: float, x: float, bottom: float) -> Markup:
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1:.0f}"/>').format(x, bottom)
    text = f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
    return line + _text(x, bottom + 17, text, "axis", "middle")


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> Markup:
    pattern = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return pattern.format(kind, x, y, anchor, text)
