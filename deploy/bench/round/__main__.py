"""`make bench-round`: rounds of real federations on this machine, beside Flower alone; write round.json."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.bench.local_federation import TASK
from deploy.bench.round import ours
from deploy.bench.round.report import render, table, verdicts
from deploy.bench.round.stock import Isolation, StockFederation
from intertwine.models.registry import task
from intertwine.protocols.errors import IntertwineError

EXCHANGES = 2
"""Messages to a participant in one of our rounds: the commit's and the release's."""


@dataclass(frozen=True)
class Size:
    """A federation to measure. flower_rounds: of each run of stock Flower. isolations: Flower's, to try."""

    participants: int
    rounds: int
    flower_rounds: int
    isolations: tuple[Isolation, ...]


SIZES = (Size(4, 6, 3, ("subprocess", "process")), Size(16, 3, 2, ("process",)))
"""Sixteen nodes take so long to start that the isolation that Flower has by default is left out there."""


def main() -> int:
    """Run the benchmark. A missed goal is printed, not an error: it may be the machine's."""
    parser = argparse.ArgumentParser(prog="make bench-round", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="folder to write into")
    parser.add_argument(
        "--participants", type=int, choices=[size.participants for size in SIZES], help="only this many"
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 101), metavar="COUNT", help="of every run")
    chosen = parser.parse_args()
    sizes = [
        replace(size, rounds=chosen.rounds or size.rounds, flower_rounds=chosen.rounds or size.flower_rounds)
        for size in SIZES
        if chosen.participants in (None, size.participants)
    ]
    console = Console(width=None if sys.stdout.isatty() else 150)
    rows: list[dict[str, Any]] = []
    try:
        for size in sizes:
            rows.append(measure(size, lambda text: console.print(text, highlight=False)))
            json_path, page = write(rows, chosen.output)
    except (IntertwineError, TimeoutError) as error:
        Console(stderr=True).print(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; whole federations that were measured are kept.")
        return 130
    console.print(table(rows))
    for verdict in verdicts(rows):
        console.print(verdict, style="" if verdict.passed else "bold red", highlight=False)
    console.print(f"Figures: [bold]{json_path}[/], picture: [bold]{page}[/]")
    return 0


def measure(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """One federation's figures: an object of round.json."""
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="round-") as folder:
        found = ours.measure(Path(folder), size.participants, size.rounds)
        say(f"{size.participants} agents: {found.seconds_per_round:.2f} s a round")
        messages, fedavg = _flower(Path(folder), size, say)
    flower = min(messages.values())
    return {
        "participants": size.participants,
        "rounds": size.rounds,
        "dimension": task(TASK).dimension,
        "seconds_per_round": found.seconds_per_round,
        "flower_only_seconds_per_round": flower,
        "overhead_seconds": found.seconds_per_round - flower,
        "fedavg_seconds_per_round": fedavg,
        "prove_s": found.prove_s,
        "verify_s": found.verify_s,
        "agent_peak_mb": found.agent_peak_mb,
        "coordinator_peak_mb": found.coordinator_peak_mb,
        "phases": found.phases,
        "flower_rounds": size.flower_rounds,
        "flower_only_by_isolation": messages,
        "load_before": round(load, 2),
        "took_s": round(time.monotonic() - began),
    }


def _flower(root: Path, size: Size, say: Callable[[str], None]) -> tuple[dict[str, float], float]:
    """Stock Flower's seconds a round: our number of messages, by isolation; FedAvg, by the faster one."""
    dimension = task(TASK).dimension
    messages: dict[str, float] = {}
    fedavg: dict[str, float] = {}
    for isolation in size.isolations:
        with StockFederation(root / isolation, size.participants, isolation, dimension) as federation:
            messages[isolation] = federation.seconds_per_round("messages", size.flower_rounds, EXCHANGES)
            fedavg[isolation] = federation.seconds_per_round("fedavg", size.flower_rounds)
        say(f"  Flower, {isolation}: {messages[isolation]:.2f} s a round, FedAvg {fedavg[isolation]:.2f} s")
    return messages, min(fedavg.values())


def write(rows: list[dict[str, Any]], folder: Path) -> tuple[Path, Path]:
    """Write round.json and round.html."""
    folder.mkdir(parents=True, exist_ok=True)
    json_path, page = folder / "round.json", folder / "round.html"
    json_path.write_text(json.dumps(rows, indent=1) + "\n")
    page.write_text(render(rows))
    return json_path, page


if __name__ == "__main__":
    sys.exit(main())
