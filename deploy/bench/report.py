"""The figures for people: a table for the terminal, a verdict on each goal, and a page with one picture.

The page is one file without scripts or addresses, made from the rows of proofs.json alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.table import Table

from deploy.bench.cases import Case, Row
from deploy.bench.chart import Bar, Group, draw

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


def render_page(template: str, **values: object) -> str:
    """A page of this folder, all of whose values must be given."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)


def render(rows: Sequence[Row]) -> str:
    """The page."""
    loads = [row["load_before"] for row in rows]
    return render_page(
        "page.html",
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
        return f"{value:,.0f} MB" if value >= 10 else f"{value:,.1f} MB"
    if key.endswith("_us"):
        return f"{value:.3g} µs" if value < 1000 else amount("_s", value / 1e6)
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
    """Two bars a case, proving above training, with a mark at the goal."""
    groups = [
        Group(
            title(row),
            [
                Bar(kind, row[key], amount(key, row[key]), row["goals"].get(key))
                for key, kind in (("prove_cpu_s", "prove"), ("training_cpu_s", "train"))
                if row[key] is not None
            ],
        )
        for row in rows
    ]
    alternative = "; ".join(
        f"{title(row)}: proving {amount('_s', row['prove_cpu_s'])}, "
        f"training {amount('_s', row['training_cpu_s'])}"
        for row in rows
    )
    return draw(groups, f"CPU time. {alternative}.")
