"""The figures for people: a table, a verdict on each goal, and a page with where a round's time goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.table import Table

from deploy.bench.report import Verdict, amount, render_page
from deploy.bench.round.phases import PHASES
from deploy.demo.charts import Scale, axis_ticks, label_at, svg

FIGURES = {
    "seconds_per_round": "a round",
    "flower_only_seconds_per_round": "stock Flower, as many messages",
    "overhead_seconds": "difference",
    "fedavg_seconds_per_round": "stock FedAvg, one message",
    "prove_s": "a proof",
    "verify_s": "its verification",
    "agent_peak_mb": "memory of an agent",
    "coordinator_peak_mb": "memory of the coordinator",
}
"""What to call each figure, in the order of the table."""
GOALS = ((4, "overhead_seconds", 1.0), (4, "coordinator_peak_mb", 400.0), (16, "coordinator_peak_mb", 400.0))
"""Participants, figure, and the most that it should be."""
_ROW, _BAR, _TOP = 62, 22, 26


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Every goal about what was measured."""
    return [
        Verdict(
            f"{participants} agents", FIGURES[key], figure(key, row[key]), figure(key, goal), row[key] <= goal
        )
        for participants, key, goal in GOALS
        for row in rows
        if row["participants"] == participants and row[key] is not None
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each figure, then one for each phase, and a column for each size."""
    shown = Table("figure", box=None, pad_edge=False)
    for row in rows:
        shown.add_column(f"{row['participants']} agents", justify="right")
    for name, cells in figures(rows):
        shown.add_row(name, *cells)
    return shown


def figures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Name and cells of every line of the table."""
    lines = [(name, [figure(key, row[key]) for row in rows]) for key, name in FIGURES.items()]
    for isolation in rows[0]["flower_only_by_isolation"]:
        cells = [figure("_s", row["flower_only_by_isolation"].get(isolation)) for row in rows]
        lines.append((f"stock Flower, isolation {isolation}", cells))
    phases = [
        (f"in a round: {PHASES[key]}", [figure(key, row["phases"][key]) for row in rows]) for key in PHASES
    ]
    return lines + phases


def figure(key: str, value: float | None) -> str:
    """A figure with its unit; differences keep their sign."""
    if value is not None and value < 0:
        return f"−{amount(key, -value)}"
    return amount(key, value)


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    return render_page(
        "round/page.html",
        sizes=[row["participants"] for row in rows],
        figures=figures(rows),
        verdicts=verdicts(rows),
        pictures=[(row["participants"], picture(row)) for row in rows],
        phases=PHASES,
        dimension=rows[0]["dimension"],
        load=max(row["load_before"] for row in rows),
    )


def picture(row: Mapping[str, Any]) -> Markup:
    """A round's phases end to end, and below it Flower's rounds, on one axis of seconds."""
    bars: list[tuple[str, dict[str, float]]] = [
        ("a round", row["phases"]),
        (FIGURES["flower_only_seconds_per_round"], {"flower": row["flower_only_seconds_per_round"]}),
        (FIGURES["fedavg_seconds_per_round"], {"flower": row["fedavg_seconds_per_round"]}),
    ]
    ticks = axis_ticks(0.0, max(sum(parts.values()) for _, parts in bars))
    x, bottom = Scale(0.0, ticks[-1], 7, 380), _ROW * len(bars)
    shapes = [label_at(x(tick), bottom + 16, f"{tick:g} s", "axis", "middle") for tick in ticks[1:]]
    for index, (name, parts) in enumerate(bars):
        shapes.append(label_at(7, _ROW * index + _TOP - 8, name, "name"))
        shapes.append(
            label_at(393, _ROW * index + _TOP - 8, figure("_s", sum(parts.values())), "value", "end")
        )
        shapes += _stacked(parts, x, _ROW * index + _TOP)
    words = ", ".join(f"{PHASES[key]} {figure(key, value)}" for key, value in row["phases"].items())
    totals = "; ".join(f"{name} {figure('_s', sum(parts.values()))}" for name, parts in bars)
    return svg(bottom + 24, f"{totals}. In a round: {words}.", shapes)


def _stacked(parts: Mapping[str, float], x: Scale, y: int) -> list[Markup]:
    """Rectangles end to end; the class of each is its key."""
    shapes, before = [], 0.0
    for key, seconds in parts.items():
        width = x(before + seconds) - x(before)
        shape = Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="{}"/>')
        shapes.append(shape.format(key, x(before), y, width, _BAR))
        before += seconds
    return shapes
