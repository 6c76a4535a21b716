"""`make bench-faults`: kill every process of a small federation at random moments; say what was lost."""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.bench.faults.federation import Faults, Kill, findings
from deploy.bench.faults.victims import VICTIMS
from deploy.bench.local_federation import LocalFederation
from deploy.demo.processes import Daemons, capture, intertwine
from intertwine.protocols.errors import IntertwineError

MUST_BE_ZERO = ("runs_failed", "lost_rounds", "double_published", "budget_mismatches")
PARTICIPANTS, SERIES = 2, 12


def main() -> int:
    """Run the benchmark; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="make bench-faults", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder to write into")
    parser.add_argument("--kills", type=int, default=20, help="kills of each kind of process")
    parser.add_argument("--seed", type=int, default=1, help="of the moments, their order and the agents")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        figures = measure(chosen.kills, chosen.seed, console)
    except (IntertwineError, TimeoutError) as error:
        Console(stderr=True).print(f"Error: {error}")
        return 1
    chosen.output.mkdir(parents=True, exist_ok=True)
    path = chosen.output / "faults.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(f"Figures: [bold]{path}[/]")
    lost = [key for key in MUST_BE_ZERO if figures[key]]
    if lost or not figures["audit_passed"]:
        console.print(f"LOST: {', '.join(lost) or 'the audit has failed'}", style="bold red")
        return 1
    return 0


def measure(times: int, seed: int, console: Console) -> dict[str, Any]:
    """What faults.json holds."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        Daemons(Path(folder)).guard() as daemons,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("kills", total=times * len(VICTIMS))

        def show(kill: Kill) -> None:
            progress.console.print(
                f"  {kill.kind} killed in {kill.run}; it went on after {kill.recovery_s:.1f} s",
                highlight=False,
            )
            progress.advance(bar)

        federation = LocalFederation(Path(folder), daemons, PARTICIPANTS, SERIES)
        federation.start()
        faults = Faults(federation, random.Random(seed), show)  # noqa: S311 — moments, not secrets
        faults.disturb(times)
        found = findings(federation)
        passed = _audit(federation, Path(folder) / "faults.bundle")
    _print(faults.kills, found, console)
    return {
        "kills": len(faults.kills),
        **found,
        "audit_passed": passed,
        "seed": seed,
        **_recovery(faults.kills),
    }


def _audit(federation: LocalFederation, bundle: Path) -> bool:
    """Whether an auditor finds nothing wrong with the log."""
    home = str(federation.coordinator)
    capture(intertwine("coordinator", "export", "--output", str(bundle), "--home", home))
    try:
        capture(intertwine("audit", "verify", str(bundle)))
    except IntertwineError:
        return False
    return True


def _recovery(kills: Sequence[Kill]) -> dict[str, dict[str, dict[str, float]]]:
    """Median and longest seconds until the run went on, by kind of process."""
    seconds = {
        victim.kind: [kill.recovery_s for kill in kills if kill.kind == victim.kind] for victim in VICTIMS
    }
    return {
        "recovery_s": {
            kind: {"median": round(statistics.median(values), 1), "max": round(max(values), 1)}
            for kind, values in seconds.items()
        }
    }


def _print(kills: Sequence[Kill], found: dict[str, int], console: Console) -> None:
    table = Table("killed", "times", "goes on after, median", "at most")
    for kind, values in _recovery(kills)["recovery_s"].items():
        count = sum(kill.kind == kind for kill in kills)
        table.add_row(kind, str(count), f"{values['median']} s", f"{values['max']} s")
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in found.items()), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
