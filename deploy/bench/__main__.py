"""`make bench-proofs`: measure every case, each in a fresh process, and write proofs.json and proofs.html."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from deploy.bench.cases import CASES, Case, Row
from deploy.bench.process import measured

BUDGET_S = 5.0


def main() -> int:
    """Run the benchmark. A missed goal is printed, not an error: it may be the machine's."""
    parser = argparse.ArgumentParser(prog="make bench-proofs", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder to write into")
    output: Path = parser.parse_args().output
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        rows = run(CASES, output, console)
    except subprocess.CalledProcessError as error:
        Console(stderr=True).print(f"Error: a measurement ended with exit code {error.returncode}.")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; nothing was written.")
        return 130
    from deploy.bench.report import table, verdicts  # noqa: PLC0415 — this process stays small while it measures

    console.print(table(rows))
    for verdict in verdicts(rows):
        console.print(verdict, style="" if verdict.passed else "bold red", highlight=False)
    console.print(f"Figures: [bold]{output / 'proofs.json'}[/], picture: [bold]{output / 'proofs.html'}[/]")
    return 0


def run(cases: Sequence[Case], output: Path, console: Console, budget: float = BUDGET_S) -> list[Row]:
    """Measure the cases one after the other and write both files; returns what proofs.json holds."""
    output.mkdir(parents=True, exist_ok=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        rows = [_measure(case, output / "round", budget, progress) for case in cases]
    from deploy.bench.report import render  # noqa: PLC0415

    (output / "proofs.json").write_text(json.dumps(rows, indent=1) + "\n")
    (output / "proofs.html").write_text(render(rows))
    return rows


def _measure(case: Case, cache: Path, budget: float, progress: Progress) -> Row:
    """The row of a case from a process of its own; CalledProcessError if that fails."""
    shown = progress.add_task(case.title, total=1.0)
    arguments = (json.dumps(asdict(case)), str(budget), str(cache))
    return measured("deploy.bench.measure", arguments, lambda message: _show(case, message, shown, progress))


def _show(case: Case, message: Row, shown: TaskID, progress: Progress) -> None:
    doing, done = message.get("doing"), message.get("done", 1.0)
    progress.update(shown, description=f"{case.title}: {doing}" if doing else case.title, completed=done)


if __name__ == "__main__":
    sys.exit(main())
