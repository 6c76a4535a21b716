"""`make bench-audit`: generate a federation's bundle and a long log once, audit both; say what that took."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.bench.audit.parts import PARTS, TITLES, Part, Scale
from deploy.bench.cases import Row
from deploy.bench.memory import PeakMemory
from deploy.bench.process import measured

PEAKS: dict[Part, str] = {"audit": "peak_mb", "log_audit": "log_peak_mb"}
"""The parts whose memory counts: that of all their processes together."""


def main() -> int:
    """Run the benchmark. A missed goal is printed, not an error: it may be the machine's."""
    parser = argparse.ArgumentParser(prog="make bench-audit", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder to write into")
    parser.add_argument("--rounds", type=_at_least(1), default=Scale.rounds)
    parser.add_argument("--participants", type=_at_least(1), default=Scale.participants)
    parser.add_argument("--log-entries", type=_at_least(4), default=Scale.log_entries)
    chosen = vars(parser.parse_args())
    output: Path = chosen.pop("output")
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        row = run(Scale(**chosen), output, console)
    except subprocess.CalledProcessError as error:
        Console(stderr=True).print(f"Error: a measurement ended with exit code {error.returncode}.")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; whole rounds that were generated are kept.")
        return 130
    from deploy.bench.audit.report import lines  # noqa: PLC0415 — this process stays small while it measures

    for line in lines(row):
        console.print(line, style="bold red" if line.startswith("MISS") else "", highlight=False)
    console.print(f"Figures: [bold]{output / 'audit.json'}[/], picture: [bold]{output / 'audit.html'}[/]")
    return 0


def run(scale: Scale, output: Path, console: Console) -> Row:
    """Measure all parts one after the other and write both files; returns what audit.json holds."""
    output.mkdir(parents=True, exist_ok=True)
    row: Row = {"load_before": round(os.getloadavg()[0], 2)}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for part in PARTS:
            row |= _measure(part, scale, output / "cache", progress)
    row["goals"] = scale.goals()
    from deploy.bench.audit.report import render  # noqa: PLC0415

    (output / "audit.json").write_text(json.dumps(row, indent=1) + "\n")
    (output / "audit.html").write_text(render(row))
    return row


def _measure(part: Part, scale: Scale, cache: Path, progress: Progress) -> Row:
    """The part's figures from a process of its own; CalledProcessError if that fails."""
    shown = progress.add_task(TITLES[part], total=1.0)
    arguments = (part, json.dumps(asdict(scale)), str(cache))
    with PeakMemory() as memory:
        row = measured(
            "deploy.bench.audit.measure",
            arguments,
            lambda message: progress.update(shown, completed=message.get("done", 1.0)),
            memory.watch,
        )
    return row | ({PEAKS[part]: memory.peak_mb} if part in PEAKS else {})


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(main())
