"""`make bench-tasks`: simulated federations by epsilon and seed; write tasks.json and tasks.html."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from deploy.bench import speed
from deploy.bench.tasks import forecast, onnx, recommendation, risk
from deploy.bench.tasks.figures import Figures, Report, summary, verdicts
from deploy.bench.tasks.report import render, table
from intertwine.models.sweep import Cell, Place, sweep, workers

EPSILONS = (0.5, 1.0, 3.0, 8.0)
SEEDS = 5


@dataclass(frozen=True)
class Section:
    """A task's part of the report. cell: one federation; baselines: all that has no noise.

    examples: what the page shows of one model, as JSON. missing: what evaluation data it lacks, in words, or
    empty.
    """

    cell: Cell
    baselines: Callable[[], Figures]
    examples: Callable[[], object] | None = None
    missing: Callable[[], str] = lambda: ""


SECTIONS = {
    "risk": Section(risk.cell, risk.baselines, missing=risk.missing),
    "forecast": Section(forecast.cell, forecast.baselines, forecast.example),
    "recommendation": Section(recommendation.cell, recommendation.baselines, recommendation.examples),
}
MEASURES: Mapping[str, Callable[[], Mapping[str, Any]]] = {"onnx": onnx.measure, "speed": speed.measure}


def main() -> int:
    """Run the benchmark. A missed goal is printed, not an error: it may be the machine's, or chance."""
    parser = argparse.ArgumentParser(prog="make bench-tasks", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder to write into")
    parser.add_argument("--seeds", type=int, choices=range(2, 11), default=SEEDS, help="runs of each epsilon")
    parser.add_argument("--processes", type=int, choices=range(1, 65), default=2, metavar="COUNT")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        report = run(SECTIONS, EPSILONS, chosen.seeds, chosen.processes, console)
    except KeyboardInterrupt:
        console.print("Interrupted; nothing was written.")
        return 130
    json_path, page = write(report, chosen.output)
    console.print(table(report))
    for verdict in verdicts(report):
        console.print(verdict, style="" if verdict.passed else "bold red", highlight=False)
    console.print(f"Figures: [bold]{json_path}[/], pictures: [bold]{page}[/]")
    return 0


def run(
    sections: Mapping[str, Section], epsilons: Sequence[float], seeds: int, processes: int, console: Console
) -> Report:
    """Measure everything; what lacks its data is reported as missing and nothing takes its place."""
    absent = {name: section.missing() for name, section in sections.items()}
    report: Report = {name: {"missing": why} for name, why in absent.items() if why}
    ready = {name: section for name, section in sections.items() if not absent[name]}
    report |= {"seeds": seeds, "load_before": round(os.getloadavg()[0], 2)}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        report |= _measured(progress)  # speeds, while nothing else runs
        report |= _simulated(ready, epsilons, range(seeds), processes, progress)
        without_noise, report["examples"] = _finished(ready, processes, progress)
    for name in ready:
        for epsilon in epsilons:
            report[name][f"{epsilon:g}"] |= without_noise[name]
    return report


def _measured(progress: Progress) -> Report:
    """What needs no federation."""
    shown = progress.add_task("speed and exported models", total=len(MEASURES))
    found: Report = {}
    for name, measure in MEASURES.items():
        found[name] = measure()
        progress.advance(shown)
    return found


def _simulated(
    sections: Mapping[str, Section],
    epsilons: Sequence[float],
    seeds: Sequence[int],
    processes: int,
    progress: Progress,
) -> Report:
    """Every federation, and how long they took together."""
    count = len(sections) * len(epsilons) * len(seeds)
    shown, start = progress.add_task("federations", total=count), time.monotonic()
    cells = {name: section.cell for name, section in sections.items()}
    found = sweep(cells, epsilons, seeds, processes=processes, done=lambda place: progress.advance(shown))
    report: Report = {"simulator": {"cells": count, "seconds": time.monotonic() - start}}
    for name in sections:
        report[name] = {
            f"{epsilon:g}": summary([found[Place(name, epsilon, seed)] for seed in seeds])
            for epsilon in epsilons
        }
    return report


def _finished(
    sections: Mapping[str, Section], processes: int, progress: Progress
) -> tuple[dict[str, Figures], dict[str, Any]]:
    """Baselines and examples of every section."""
    with workers(processes) as pool:
        baselines = {name: pool.submit(section.baselines) for name, section in sections.items()}
        examples = {name: pool.submit(each.examples) for name, each in sections.items() if each.examples}
        waiting: list[Future[Any]] = [*baselines.values(), *examples.values()]
        shown = progress.add_task("baselines and examples", total=len(waiting))
        for future in as_completed(waiting):
            future.result()
            progress.advance(shown)
    return (
        {name: dict(future.result()) for name, future in baselines.items()},
        {name: future.result() for name, future in examples.items()},
    )


def write(report: Report, output: Path) -> tuple[Path, Path]:
    """Write tasks.json and tasks.html; returns their paths."""
    output.mkdir(parents=True, exist_ok=True)
    paths = output / "tasks.json", output / "tasks.html"
    paths[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(render(report), encoding="utf-8")
    return paths


if __name__ == "__main__":
    sys.exit(main())
